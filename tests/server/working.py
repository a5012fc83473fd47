"""Workers with a small model on the cpu backend, and jobs for them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.server.jobs import Done, Event, Failed, Job, Token
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.runtime.server.worker.workers import Workers
from vkrun.runtime.text.base import Tokenizer
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf

MODEL = Path(__file__).parents[1] / "models" / "golden" / "q8_0.gguf"
GREEDY = SamplerSettings(temp=0)
SECONDS = 120.0  # more than any of these tests takes; one that hangs fails
_ids = itertools.count()


@cache
def tokenizer() -> Tokenizer:
    with GGUFFile.open(str(MODEL)) as f:
        return need_tokenizer(tokenizer_from_gguf(f.keys))


def job(seed: int = 1, n_prompt: int = 12, n: int = 8, **how: Any) -> Job:
    ids = how.pop("ids", None)
    if ids is None:
        ids = tuple((seed * 37 + i * i) % 60 + 5 for i in range(n_prompt))
    chosen = {"settings": GREEDY, "n_predict": n, "ignore_eos": True} | how
    return Job(f"job {next(_ids)}", ids, **chosen)


@asynccontextmanager
async def working(**how: Any) -> AsyncIterator[Workers]:
    workers = Workers(WorkerOptions(str(MODEL), **{"backend": "cpu", "n_ctx": 512, "n_seqs": 2, **how}))
    try:
        await workers.start()
        yield workers
    finally:
        await workers.close()


async def events(workers: Workers, asked: Job) -> list[Event]:
    return [event async for event in workers.submit(asked)]


def tokens(made: list[Event]) -> list[int]:
    return [e.id for e in made if isinstance(e, Token) and e.id is not None]


def text(made: list[Event]) -> str:
    return "".join(e.text for e in made if isinstance(e, Token))


def done(made: list[Event]) -> Done:
    assert isinstance(made[-1], Done), made[-1]
    return made[-1]


def failed(made: list[Event]) -> Failed:
    assert isinstance(made[-1], Failed), made[-1]
    return made[-1]


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that nobody tells of."""
    stop = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < stop, "it does not come to pass"
        await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), SECONDS))
