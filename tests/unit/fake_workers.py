"""Workers that compute nothing, in this process: a script answers each job at once, as the real ones promise to."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vkrun.runtime.server.jobs import (
    Done,
    Embedded,
    Event,
    Failed,
    Health,
    Job,
    Likely,
    Metrics,
    Progress,
    SlotInfo,
    Timings,
    Token,
    Usage,
    WorkerHealth,
)
from vkrun.runtime.text.base import Tokenizer

Script = Callable[[Job], Sequence[Event | Exception | float]]  # a number: seconds to wait


@dataclass
class FakeWorkers:
    """script: a job's events; None: `text`, token by token, as a model would that says nothing else."""

    tokenizer: Tokenizer
    text: str = "def add(a, b):\n    return a + b\n"
    script: Script | None = None
    state: str = "ok"
    jobs: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    async def submit(self, job: Job) -> AsyncGenerator[Event]:
        self.jobs.append(job)
        ended = False
        try:
            for event in (self.script or self._spoken)(job):
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, float):
                    await asyncio.sleep(event)
                    continue
                ended = isinstance(event, Done | Failed)
                yield event
                await asyncio.sleep(0)
        finally:
            if not ended:
                self.cancelled.append(job.id)

    def health(self) -> Health:
        return Health(self.state, (WorkerHealth(self.state, "fake", 1.0),))  # type: ignore[arg-type]

    def slots(self) -> list[SlotInfo]:
        return [SlotInfo(0, 0, 512), SlotInfo(1, 0, 512, "job", 9, 5, 3, 2)]

    def metrics(self) -> Metrics:
        return Metrics(10, 4, 20, 0.5, 1.5, {"stop": 3, "failed": 1}, 1, 2, 1, 4)

    async def save(self, slot: int, path: str) -> int:
        Path(path).write_bytes(b"state")
        return 7

    async def restore(self, slot: int, path: str) -> int:
        return 7

    async def erase(self, slot: int) -> int:
        return 7

    def _spoken(self, job: Job) -> list[Event | Exception | float]:
        n = len(job.ids)
        if job.embed:
            return [Embedded((0.6, 0.8)), Done("stop", Usage(n, 0, 0), Timings(0.1, 0.2, 0.0))]
        ids = self.tokenizer.encode(self.text, special=True, bos=False)
        tokens, ended = self._tokens(job, ids[: job.n_predict])
        cut = job.n_predict is not None and job.n_predict <= len(ids)
        reason = "length" if cut and not ended else "stop"
        used = Usage(n, n // 2, len(tokens))
        return [Progress(n, n // 2, n), *tokens, Done(reason, used, Timings(0.1, 0.2, 0.3), ended)]

    def _tokens(self, job: Job, ids: list[int]) -> tuple[list[Token], str]:
        """Up to a stop string, and which it was."""
        made, text = [], ""
        for i in ids:
            data = self.tokenizer.token_bytes(i, special=True)
            before, text = text, text + data.decode("utf-8", "replace")
            if found := next((stop for stop in job.stop if stop in text), ""):
                made.append(Token(i, text[: text.index(found)][len(before) :]))
                return made, found
            own = None if job.n_logprobs is None else Likely(i, data, -0.5)
            top = tuple(Likely(i + k, data, -0.5 - k) for k in range(job.n_logprobs or 0))
            made.append(Token(i, text[len(before) :], own, top))
        return made, ""


def failing(error: str, retry_after: float | None = None) -> Script:
    return lambda _job: [Failed(error, retry_after)]
