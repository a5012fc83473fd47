"""Workers: jobs from an asyncio program to the processes that own devices. One event loop, and no other thread."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ...arguments import token_ids
from ...errors import BackendError, UsageError, VkrunError
from ...model import ModelInfo
from ..jobs import Done, Event, Failed, Health, Job, Metrics, Refused, SlotInfo, State, Timings, Token, Usage
from .fair import FairQueue
from .messages import Answer, Cancel, Given, Hold, Ready, Run, SlotAct, SlotDone
from .options import WorkerOptions
from .process import WorkerProcess
from .routing import Router
from .running import Running, count
from .stream import JobStream

WAITS = 1.0, 120.0  # seconds to ask somebody to wait for, at least and at most


class Workers:
    """start() first; close() at last. Job ids are of the caller's choice, each of one job at a time."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self._processes = [
            WorkerProcess(options, i, self._heard, self._ended, self._is_busy) for i in range(options.n_replicas)
        ]
        self._queue = FairQueue(options.max_queue, options.max_queue_user)
        self._router, self._metrics = Router(), Metrics()
        self._running: dict[str, Running] = {}  # those that wait too
        self._slot_acts: dict[int, tuple[int, asyncio.Future[SlotDone]]] = {}  # with their worker
        self._draining, self._changed = False, asyncio.Event()
        self._mean_s = 1.0  # that a job takes

    async def start(self) -> None:
        """Until one worker is ready. Raises BackendError where all were given up."""
        for process in self._processes:
            process.start()
        while not any(p.info for p in self._processes):
            if all(p.is_given_up for p in self._processes):
                raise BackendError(self._processes[0].error)
            await self._change()

    @property
    def info(self) -> ModelInfo:
        """Of the model, as the first worker that was ready has it."""
        return next(p.info for p in self._processes if p.info)

    def submit(self, job: Job) -> JobStream:
        """Its events; Refused or UsageError at once."""
        try:
            self._require_room(job.user)
        except Refused:
            count(self._metrics, "refused")
            raise
        job = self._checked(job)
        running = Running(job, self._stream(job.id))
        self._running[job.id] = running
        self._queue.push(job)
        self._dispatch()
        return running.stream

    def cancel(self, job_id: str) -> None:
        """Its stream ends with Done("cancelled"), within a step; nothing for a job that is none."""
        running = self._running.get(job_id)
        if running is None:
            return
        if running.worker is None:
            self._queue.remove(job_id)
            self._end(running, Done("cancelled", Usage(), Timings(time.monotonic() - running.came)))
        else:
            self._processes[running.worker].send(Cancel(job_id))

    def health(self) -> Health:
        states = [p.state for p in self._processes]
        order: tuple[State, ...] = ("ok", "loading", "failed")
        state: State = "draining" if self._draining else next(s for s in order if s in states)
        error = "" if state == "ok" else next((p.error for p in self._processes if p.error), "")
        return Health(state, tuple(p.health() for p in self._processes), error)

    def slots(self) -> list[SlotInfo]:
        """Slot s of worker w is number w * n_seqs + s."""
        n, n_ctx = self.options.n_seqs, self.options.n_ctx
        seated = {(r.worker, r.slot): r for r in self._running.values()}
        found = [(w * n + s, w, seated.get((w, s))) for w in range(len(self._processes)) for s in range(n)]
        return [r.slot_info(i, n_ctx) if r else SlotInfo(i, w, n_ctx) for i, w, r in found]

    def metrics(self) -> Metrics:
        n_queued, n_seats = len(self._queue), self.options.n_seqs * len(self._processes)
        return replace(
            self._metrics,
            n_jobs=dict(self._metrics.n_jobs),
            n_restarts=sum(p.n_restarts for p in self._processes),
            n_queued=n_queued,
            n_running=len(self._running) - n_queued,
            n_seats=n_seats,
        )

    async def save(self, slot: int, path: str) -> int:
        """What a slot holds to a file; how many tokens. VkrunError where it cannot be."""
        return await self._act("save", slot, path)

    async def restore(self, slot: int, path: str) -> int:
        return await self._act("restore", slot, path)

    async def erase(self, slot: int) -> int:
        return await self._act("erase", slot, "")

    async def drain(self, seconds: float) -> None:
        """Take no new jobs, and let those there are end; after so many seconds they fail."""
        self._draining = True
        stop = time.monotonic() + seconds
        while self._running and (left := stop - time.monotonic()) > 0:
            await self._change(left)
        for running in list(self._running.values()):
            self._fail(running, Failed("the server is shutting down", WAITS[0]))

    async def close(self) -> None:
        await self.drain(0)
        await asyncio.gather(*(p.close() for p in self._processes))

    # what is taken

    def _checked(self, job: Job) -> Job:
        info = self.info
        if job.id in self._running:
            raise UsageError(f"job {job.id:.60}: there is one of this id")
        ids = token_ids("prompt", job.ids, info.n_vocab)
        if len(ids) > info.n_ctx:
            raise UsageError(f"prompt: {len(ids)} tokens do not fit a context of {info.n_ctx} (n_ctx)")
        return replace(job, ids=tuple(ids))

    def _require_room(self, user: str) -> None:
        if self._draining:
            raise Refused("the server is shutting down", WAITS[0])
        if not any(p.state == "ok" for p in self._processes):
            raise Refused("no worker is ready", self._until_loaded())
        if self._free_seats() and not len(self._queue):
            return
        if self._queue.has_too_many(user):
            raise Refused(f"{self.options.max_queue_user} requests of this user wait already", self._until_seat(), True)
        if self._queue.is_full:
            raise Refused(f"{self.options.max_queue} requests wait already", self._until_seat())

    def _until_loaded(self) -> float:
        return _bounded(max(p.loaded_in for p in self._processes))

    def _until_seat(self) -> float:
        n_seats = self.options.n_seqs * sum(p.state == "ok" for p in self._processes)
        return _bounded(self._mean_s * len(self._running) / max(1, n_seats))

    def _stream(self, id: str) -> JobStream:
        return JobStream(
            lambda on: self._hold(id, on),
            lambda: self._stalled(id),
            lambda: self.cancel(id),
            self.options.stall_seconds,
        )

    def _hold(self, id: str, on: bool) -> None:
        running = self._running.get(id)
        if running and running.worker is not None:
            self._processes[running.worker].send(Hold(id, on))

    def _stalled(self, id: str) -> None:
        if running := self._running.get(id):
            running.stream.fail(Failed(f"nothing was read for {self.options.stall_seconds:g} s"))
            self.cancel(id)

    # what is given to workers, and comes back

    def _of(self, process: WorkerProcess) -> Iterator[Running]:
        return (r for r in self._running.values() if r.worker == process.index)

    def _is_busy(self, process: WorkerProcess) -> bool:
        """Jobs that are held make no steps."""
        acts = any(worker == process.index for worker, _ in self._slot_acts.values())
        return acts or any(not r.stream.is_held for r in self._of(process))

    def _free_seats(self) -> dict[int, float]:
        """How full those workers are that have a seat."""
        n = {p.index: sum(1 for _ in self._of(p)) for p in self._processes if p.state == "ok"}
        return {i: float(taken) for i, taken in n.items() if taken < self.options.n_seqs}

    def _dispatch(self) -> None:
        while len(self._queue) and (free := self._free_seats()):
            running = self._running[self._queue.pop().id]
            worker = self._router.choose(running.job.ids, free)
            self._router.note(running.job.ids, worker)
            process = self._processes[worker]
            process.send(Run(running.job))
            running.begin(worker)

    def _heard(self, process: WorkerProcess, answer: Answer) -> None:
        match answer:
            case Given(events, seats):
                self._seat(process, {id: slot for slot, id in seats})
                for id, event in events:
                    self._give(id, event)
            case SlotDone(n) if n in self._slot_acts:
                self._slot_acts.pop(n)[1].set_result(answer)
            case Ready():
                self._changed.set()
        self._dispatch()

    def _seat(self, process: WorkerProcess, seats: dict[str, int]) -> None:
        for r in self._of(process):
            r.slot = seats.get(r.job.id)

    def _give(self, id: str, event: Event) -> None:
        running = self._running.get(id)
        if running is None:
            return
        event = running.note(event)
        if isinstance(event, Token):
            self._queue.charge(running.job.user, n_made=1)
        if isinstance(event, Done | Failed):
            self._end(running, event)
        else:
            running.stream.put(event)

    def _end(self, running: Running, event: Done | Failed) -> None:
        if running.worker is not None:
            self._queue.charge(running.job.user, -running.n_reused)
            self._mean_s += 0.1 * (time.monotonic() - running.began - self._mean_s)
        done = event if isinstance(event, Done) else None
        count(self._metrics, done.reason if done else "failed", done)
        del self._running[running.job.id]
        running.stream.put(event)
        self._changed.set()

    def _fail(self, running: Running, event: Failed) -> None:
        if running.worker is None:
            self._queue.remove(running.job.id)
        self._end(running, event)

    def _ended(self, process: WorkerProcess, why: str) -> None:
        """What it had is lost; what waits goes on waiting for it or for others."""
        self._router.forget(process.index)
        for running in list(self._of(process)):
            self._fail(running, Failed(why, self._until_loaded()))
        for n, (worker, future) in list(self._slot_acts.items()):
            if worker == process.index:
                del self._slot_acts[n]
                future.set_result(SlotDone(n, 0, why))
        self._changed.set()

    async def _act(self, what: Literal["save", "restore", "erase"], slot: int, path: str) -> int:
        worker, own = divmod(slot, self.options.n_seqs)
        if slot < 0 or worker >= len(self._processes):
            raise UsageError(f"slot: {slot}, expected 0 to {self.options.n_seqs * len(self._processes) - 1}")
        n, future = max(self._slot_acts, default=0) + 1, asyncio.get_running_loop().create_future()
        self._processes[worker].send(SlotAct(n, what, own, path))
        self._slot_acts[n] = worker, future
        done = await future
        if done.error:
            raise VkrunError(done.error)
        return done.n_tokens

    async def _change(self, seconds: float | None = None) -> None:
        """Wait for a worker to get ready or end, or a job to end, but no longer than so many seconds."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return


def _bounded(seconds: float) -> float:
    return min(max(seconds, WAITS[0]), WAITS[1])
