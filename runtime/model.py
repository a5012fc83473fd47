"""load() and Model: what a program that embeds vkrun sees."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Ids
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from ..backends import registry
from .engine.engine import Engine
from .engine.generate import Timings, generate_ids, generate_text
from .engine.sequence import Sequence
from .errors import UsageError, VkrunError
from .gguf.file import GGUFFile
from .gguf.keys import printable
from .models import Capacity, open_model
from .text.base import Tokenizer
from .text.chat import ChatTemplate
from .text.sampler import Sampler, SamplerSettings
from .text.tokenizer import need_tokenizer, tokenizer_from_gguf

BUNDLED = Path(__file__).parent / "data" / "demo.gguf"
MAX_SEQS = 256


@dataclass(frozen=True)
class ModelInfo:
    """What was loaded, and onto what. Sizes in bytes."""

    architecture: str
    kind: str  # as benchmarks name it: architecture, size, the type most bytes are of
    name: str
    path: str
    n_params: int
    nbytes: int
    n_layers: int
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_seqs: int
    backend: str
    device: str
    driver: str
    is_software: bool


def load(
    path: str | os.PathLike[str],
    backend: str | None = None,
    device: str | int | None = None,
    n_ctx: int = 4096,
    n_seqs: int = 1,
    opt: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> "Model":
    """Load a GGUF model onto a device.

    backend, device: None for the best there is; a device by index, UUID or part of its name. n_ctx: tokens that each of
    n_seqs sequences may hold. opt: how lean the graph is made, 0 to 3. progress(done, total): bytes uploaded so far.
    Raises GGUFError or ModelError for a bad file (before any device is touched), BackendError, UsageError.
    """
    _check_range("n_ctx", n_ctx, 1, 1 << 24)
    _check_range("n_seqs", n_seqs, 1, MAX_SEQS)
    _check_range("opt", opt, 0, 3)
    with GGUFFile.open(path) as f:
        model = open_model(f, Capacity(n_ctx, n_seqs, n_seqs))
        tokenizer = tokenizer_from_gguf(f.keys, model.params.n_vocab)
        found, info = registry.choose(backend, device)
        opened = found.open(info)
        try:
            engine = Engine(model, opened, opt, progress)
        except BaseException:
            opened.close()
            raise
        described = ModelInfo(
            architecture=model.name,
            kind=model_kind(f),
            name=printable(f.get_str("general.name", Path(f.path).stem)),
            path=f.path,
            n_params=sum(int(np.prod(t.shape)) for t in f.tensors.values()),
            nbytes=sum(t.nbytes for t in f.tensors.values()),
            n_layers=model.params.n_layers,
            n_vocab=model.params.n_vocab,
            n_ctx=n_ctx,
            n_ctx_train=model.params.n_ctx_train,
            n_seqs=n_seqs,
            backend=info.backend,
            device=info.name,
            driver=info.driver,
            is_software=info.is_software,
        )
        return Model(described, engine, tokenizer, dict(f.keys))


def model_kind(f: GGUFFile) -> str:
    """`qwen3next 14M Q8_0`: the architecture, the size as the file or else its parameters say, the commonest type."""
    nbytes: Counter[str] = Counter()
    for t in f.tensors.values():
        nbytes[t.dtype.name] += t.nbytes
    n_params = sum(int(np.prod(t.shape)) for t in f.tensors.values())
    counted = f"{n_params / 1e9:.0f}B" if n_params >= 1e9 else f"{n_params / 1e6:.0f}M"
    size = f.get_str("general.size_label", counted)
    (most, _), *_ = nbytes.most_common(1)
    return printable(f"{f.get_str('general.architecture')} {size} {most}", 60)


class Model:
    """A loaded model. A context manager; not for use from several threads at once."""

    def __init__(self, info: ModelInfo, engine: Engine, tokenizer: Tokenizer | None, keys: dict) -> None:
        self.info, self.engine = info, engine
        self._tokenizer, self._keys = tokenizer, keys
        self._sequence = Sequence(engine)
        self._chat: ChatTemplate | None = None
        self.timings = Timings()
        self._going: Iterator[str] | None = None  # the generation that the sequence is in the middle of
        self._closed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises TextError when the file has no tokenizer; token ids can still be evaluated."""
        return need_tokenizer(self._tokenizer)

    @property
    def chat_template(self) -> ChatTemplate:
        """The file's chat template, or a stand-in for it."""
        if self._chat is None:
            self._chat = ChatTemplate.from_gguf(self._keys, self.tokenizer)
        return self._chat

    def tokenize(self, text: str, special: bool = True, bos: bool | None = None) -> list[int]:
        """Token ids. special: read control tokens written in the text; bos: None does as the model's file says."""
        return self.tokenizer.encode(text, special=special, bos=bos)

    def detokenize(self, ids: Ids[int], special: bool = False) -> str:
        return self.tokenizer.decode(ids, special=special)

    def logits(self, ids: Ids[int]) -> np.ndarray:
        """float32 [len(ids), n_vocab]: the logits after each token, from an empty state."""
        self._check_open()
        self._end_generation()
        self._sequence.clear()
        try:
            return self.engine.prompt(0, 0, list(ids), every=True)
        finally:
            self._sequence.clear()

    def generate(
        self,
        prompt: str | Ids[int],
        max_tokens: int | None = None,
        temperature: float = SamplerSettings.temp,
        top_k: int = SamplerSettings.top_k,
        top_p: float = SamplerSettings.top_p,
        min_p: float = SamplerSettings.min_p,
        seed: int | None = None,
        stop: str | Ids[str] = (),
        repeat_penalty: float = SamplerSettings.repeat_penalty,
        ignore_eos: bool = False,
    ) -> Iterator[str]:
        """Pieces of text that go on from a prompt, as they are made. temperature 0 takes the likeliest token.

        Ends at an end token, a stop string, max_tokens, or when the context is full; `timings.ended` says which.
        """
        settings = SamplerSettings(temperature, top_k, top_p, min_p, repeat_penalty, seed=seed)
        ids = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        return self.generate_from(ids, settings, max_tokens, stops, ignore_eos)

    def generate_from(
        self,
        ids: list[int],
        settings: SamplerSettings,
        max_tokens: int | None = None,
        stops: Ids[str] = (),
        ignore_eos: bool = False,
    ) -> Iterator[str]:
        """generate() from token ids and ready-made settings. `timings` is of the latest generation."""
        self._check_open()
        if max_tokens is not None:
            _check_range("max_tokens", max_tokens, 0, 1 << 31)
        self.timings = Timings()
        ends = frozenset() if ignore_eos else self.tokenizer.eos_ids
        made = generate_ids(self._sequence, ids, Sampler(settings), max_tokens, ends, self.timings)
        return self._generation(generate_text(made, self.tokenizer, stops, self.timings))

    def close(self) -> None:
        """Give the device's memory back. Idempotent."""
        if not self._closed:
            self._closed = True
            self._end_generation()
            self.engine.close()
            self.engine.device.close()
            if self._chat is not None:
                self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _generation(self, pieces: Iterator[str]) -> Iterator[str]:
        """There is one sequence: from its first piece on, a generation lasts until something else needs it."""
        self._check_open()
        self._end_generation()
        self._going = pieces
        for piece in pieces:
            yield piece
            if self._going is not pieces:
                raise UsageError(
                    f"{self.info.name}: this generation was ended by a later call; read one to its end first"
                )

    def _end_generation(self) -> None:
        going, self._going = self._going, None
        if isinstance(going, Generator):
            going.close()

    def _check_open(self) -> None:
        if self._closed:
            raise VkrunError(f"{self.info.name}: the model is closed")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int | np.integer) or not low <= value <= high:
        raise UsageError(f"{name}: {value}, expected {low} to {high}")
