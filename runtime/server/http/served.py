"""What endpoints stand on: the model's words, the workers that compute, what the command line said."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from anyio import CapacityLimiter, to_thread

from ...errors import TextError
from ...text.base import Tokenizer
from ...text.chat import ChatPrompt, ChatTemplate, Message
from ..jobs import Event, Health, Job, Metrics, SlotInfo
from .errors import ApiError
from .options import Options

N_THREADS = 4  # for tokenizing and templates: what they cost must not hold up tokens on their way out
T = TypeVar("T")


class Stream(Protocol):
    def __aiter__(self) -> AsyncIterator[Event]: ...
    async def __anext__(self) -> Event: ...
    async def aclose(self) -> None:
        """Nobody reads any further: the job is cancelled."""
        ...


class Workers(Protocol):
    """The processes that own devices, as far as endpoints see them."""

    def submit(self, job: Job) -> Stream:
        """A job's events; Refused at once or before the first."""
        ...

    def health(self) -> Health: ...
    def slots(self) -> Sequence[SlotInfo]: ...
    def metrics(self) -> Metrics: ...


@runtime_checkable
class SavesSlots(Protocol):
    """Workers that can write what a slot holds to a file. Each gives its number of tokens."""

    async def save(self, slot: int, path: str) -> int: ...
    async def restore(self, slot: int, path: str) -> int: ...
    async def erase(self, slot: int) -> int: ...


@dataclass(frozen=True)
class Card:
    """Of the model: what may be told. created: seconds since 1970. n_ctx: tokens that a slot holds."""

    id: str
    architecture: str
    n_params: int
    nbytes: int
    n_vocab: int
    width: int
    n_ctx: int
    n_ctx_train: int
    n_slots: int
    causal: bool
    created: int


@dataclass
class Served:
    workers: Workers
    card: Card
    tokenizer: Tokenizer
    template: ChatTemplate
    options: Options = field(default_factory=Options)
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(N_THREADS))

    async def aside(self, work: Callable[..., T], *args: Any) -> T:
        """work(*args) in a thread; what it says of texts is the request's fault."""
        try:
            return await to_thread.run_sync(work, *args, limiter=self._threads)
        except TextError as error:
            raise ApiError(400, str(error)) from None

    async def tokens(self, text: str) -> list[int]:
        return await self.aside(self.tokenizer.encode, text)

    def template_for(self, source: str | None) -> ChatTemplate:
        return self.template if source is None else replace(self.template, source=source, source_tools=None)

    async def prompt(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, source: str | None, **kw: Any
    ) -> ChatPrompt:
        """Messages in the chat format, as text and as token ids."""
        template = self.template_for(source)

        def made() -> ChatPrompt:
            return template.prompt(self.tokenizer, messages, tools=tools, **kw)

        return await self.aside(made)
