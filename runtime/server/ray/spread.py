"""Spread: workers on other machines, as endpoints see workers."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import fields, replace
from typing import Any

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from ...errors import UsageError
from ..jobs import Event, Failed, Health, Job, Metrics, Refused, SlotInfo
from ..worker.routing import Router
from .device import Refusal, Standing

EVERY = 1.0  # seconds between two looks at each worker
WAIT = 5.0  # seconds to ask for where none is ready


class Spread:
    """handles: of Device deployments, one a worker. begin() first."""

    def __init__(self, handles: Sequence[DeploymentHandle[Any]]) -> None:
        self._handles, self._router = list(handles), Router()
        self._standings: list[Standing | None] = [None] * len(handles)
        self._loads: Counter[int] = Counter()  # jobs under way, by worker
        self._streams: dict[str, Any] = {}
        self._watch: asyncio.Task[None] | None = None
        self._known = asyncio.Event()

    async def begin(self) -> None:
        """Look at the workers, from the first time on again and again; returns once they were looked at."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_all())
        await self._known.wait()

    async def _watch_all(self) -> None:
        while True:
            await asyncio.gather(*(self._look(i) for i in range(len(self._handles))))
            self._known.set()
            await asyncio.sleep(EVERY)

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """Its events; Refused or UsageError before the first. A worker that is lost fails it."""
        worker = self._choose(job)
        self._loads[worker] += 1
        stream: Any = self._handles[worker].options(stream=True).submit.remote(job)
        self._streams[job.id] = stream
        try:
            async for event in stream:
                yield _event(event)
        except RayError as error:
            self._router.forget(worker)
            yield Failed(f"the worker's machine was lost: {type(error).__name__}", WAIT)
        finally:
            self._loads[worker] -= 1
            del self._streams[job.id]
            stream.cancel()

    def cancel(self, job_id: str) -> None:
        if job_id in self._streams:
            self._streams[job_id].cancel()

    def health(self) -> Health:
        known = [s.health for s in self._standings if s]
        workers = tuple(w for h in known for w in h.workers)
        state = next((s for s in ("ok", "loading", "failed") if any(h.state == s for h in known)), "loading")
        return Health(state, workers, "" if state == "ok" else next((h.error for h in known if h.error), ""))  # type: ignore[arg-type]

    def slots(self) -> list[SlotInfo]:
        """Numbered through, worker by worker."""
        found = [(w, slot) for w, s in enumerate(self._standings) if s for slot in s.slots]
        return [replace(slot, id=i, worker=w) for i, (w, slot) in enumerate(found)]

    def metrics(self) -> Metrics:
        total = Metrics()
        for each in [s.metrics for s in self._standings if s]:
            for f in fields(Metrics):
                if f.name != "n_jobs":
                    setattr(total, f.name, getattr(total, f.name) + getattr(each, f.name))
            total.n_jobs = dict(Counter(total.n_jobs) + Counter(each.n_jobs))
        return total

    async def _look(self, i: int) -> None:
        try:
            self._standings[i] = await asyncio.wait_for(self._handles[i].standing.remote(), 10 * EVERY)
        except (RayError, TimeoutError):
            self._standings[i] = None
            self._router.forget(i)

    def _choose(self, job: Job) -> int:
        """Who read its beginning and has a seat, else who has most room for it."""
        ready = [i for i, s in enumerate(self._standings) if s and s.health.state == "ok"]
        if not ready:
            raise Refused("no worker is ready", WAIT)
        loads = {i: self._loads[i] / max(1, len(s.slots)) for i in ready if (s := self._standings[i])}
        free = {i: load for i, load in loads.items() if load < 1} or loads
        worker = self._router.choose(job.ids, free)
        self._router.note(job.ids, worker)
        return worker


def _event(event: Event | Refusal) -> Event:
    if not isinstance(event, Refusal):
        return event
    if event.retry_after is None:
        raise UsageError(event.text)
    raise Refused(event.text, event.retry_after, event.crowded)
