"""Jobs under way: their events as they come, read by a parser each, as steps that every API writes in its own way."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ...text.answers.deltas import Arguments, Content, Delta, Reasoning
from ...text.answers.deltas import Call as Called
from ..jobs import Done, Event, Failed, Job, Progress, Token
from .endpoint import Call
from .errors import ApiError
from .parsing import Parser

RETRY_S = 2.0  # a guess at when a worker is ready, which takes none to a minute more
HELD = 16  # events of a request that may lie here: what a slow reader leaves is the workers' to hold


@dataclass
class Step:
    """What became of one event of choice `index`."""

    index: int
    deltas: list[Delta] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    done: Done | None = None
    progress: Progress | None = None


async def events(call: Call, jobs: Sequence[Job]) -> AsyncGenerator[tuple[int, Event | Exception]]:
    """Events of all jobs, each with its job's place. Those left when nobody asks any more are closed, which cancels."""
    check_health(call)
    queue: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue(HELD)
    left = set(range(len(jobs)))

    async def pump(i: int, job: Job) -> None:
        try:
            async with aclosing(call.served.workers.submit(job)) as coming:
                async for event in coming:
                    await queue.put((i, event))
        except Exception as error:
            await queue.put((i, error))

    tasks = [asyncio.create_task(pump(i, job)) for i, job in enumerate(jobs)]
    try:
        while left:
            i, event = await queue.get()
            if isinstance(event, Done | Failed | Exception):
                left.discard(i)
            yield i, event
    finally:
        for task in tasks:
            task.cancel()


def check_health(call: Call) -> None:
    """ApiError 503 while no worker takes jobs."""
    found = call.served.workers.health()
    if found.state != "ok":
        raise ApiError(503, found.error or f"the server is {found.state}", code=found.state, retry_after=RETRY_S)


async def steps(call: Call, jobs: Sequence[Job], parsers: Sequence[Parser]) -> AsyncGenerator[Step]:
    """Raises ApiError for the first job that fails: the others are of no use without it."""
    async with aclosing(events(call, jobs)) as coming:
        async for i, event in coming:
            match event:
                case Token():
                    yield Step(i, parsers[i].feed(event.text), [event])
                case Progress():
                    yield Step(i, progress=event)
                case Done():
                    yield Step(i, parsers[i].finish(), done=event)
                case Failed():
                    raise failure(event)
                case Exception():
                    raise event


def failure(event: Failed) -> ApiError:
    if event.retry_after is None:
        return ApiError(400, event.error)
    return ApiError(503, event.error, retry_after=event.retry_after)


async def begun(call: Call, jobs: Sequence[Job], new_parser: Callable[[], Parser]) -> AsyncGenerator[Step]:
    """steps() once the first has come, so that a full queue is a status of its own and no broken stream."""
    coming = steps(call, jobs, [new_parser() for _ in jobs])
    call.stack.push_async_callback(coming.aclose)
    first = await anext(coming, None)
    return _after(first, coming)


async def _after(first: Step | None, coming: AsyncGenerator[Step]) -> AsyncGenerator[Step]:
    if first is not None:
        yield first
    async for step in coming:
        yield step


@dataclass
class Answer:
    """A whole one."""

    content: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    done: Done | None = None

    def take(self, step: Step) -> None:
        for delta in step.deltas:
            self._take(delta)
        self.tokens += step.tokens
        self.done = step.done or self.done

    def _take(self, delta: Delta) -> None:
        match delta:
            case Content(text):
                self.content += text
            case Reasoning(text):
                self.reasoning += text
            case Called(_, id, name):
                self.calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": ""}})
            case Arguments(index, text):
                self.calls[index]["function"]["arguments"] += text


async def whole(coming: AsyncGenerator[Step], n: int) -> list[Answer]:
    """All that a request's jobs answered."""
    made = [Answer() for _ in range(n)]
    async for step in coming:
        made[step.index].take(step)
    return made
