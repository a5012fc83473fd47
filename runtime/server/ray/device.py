"""Device: a worker as a deployment of Ray Serve, on whichever machine it is placed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from ...errors import VkrunError
from ...model import ModelInfo
from ..jobs import Event, Health, Job, Metrics, Refused, SlotInfo
from ..worker.options import WorkerOptions
from ..worker.workers import Workers


@dataclass(frozen=True)
class Refusal:
    """A Refused or another error as a value: Ray wraps what is raised. retry_after: None where that will not help."""

    text: str
    retry_after: float | None = None
    crowded: bool = False


@dataclass(frozen=True)
class Standing:
    """What a worker says of itself; info: None while it loads for the first time."""

    health: Health
    slots: tuple[SlotInfo, ...]
    metrics: Metrics
    info: ModelInfo | None


class Device:
    """Starts its worker when it is made; the process that owns the device is one of its own, as anywhere."""

    def __init__(self, options: WorkerOptions) -> None:
        self._workers = Workers(options)
        self._starting: asyncio.Task[None] | None = None
        self._error = ""

    async def submit(self, job: Job) -> AsyncIterator[Event | Refusal]:
        self._start()
        try:
            stream = self._workers.submit(job)
        except Refused as refused:
            yield Refusal(str(refused), refused.retry_after, refused.crowded)
            return
        except VkrunError as error:
            yield Refusal(str(error))
            return
        async with aclosing(stream):
            async for event in stream:
                yield event

    async def standing(self) -> Standing:
        self._start()
        health = self._workers.health()
        ready = health.state == "ok"
        return Standing(
            health, tuple(self._workers.slots()), self._workers.metrics(), self._workers.info if ready else None
        )

    def _start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._workers.start())
