"""Running: a job as the server's process sees it, from its begin in the queue to its end."""

import time
from dataclasses import dataclass, field, replace

from ..jobs import Done, Event, Job, Metrics, Progress, SlotInfo, Token
from .stream import JobStream


@dataclass(eq=False)
class Running:
    """worker: the index of that which has it, None while it waits."""

    job: Job
    stream: JobStream
    worker: int | None = None
    slot: int | None = None
    n_read: int = 0
    n_reused: int = 0
    n_made: int = 0
    came: float = field(default_factory=time.monotonic)
    began: float = 0.0

    def begin(self, worker: int) -> None:
        self.worker, self.began = worker, time.monotonic()

    def note(self, event: Event) -> Event:
        """Count an event; as it is to be passed on."""
        match event:
            case Progress(n_read, n_reused):
                self.n_read, self.n_reused = n_read, n_reused
            case Token(id) if id is not None:
                self.n_made += 1
            case Done(timings=timings):
                return replace(event, timings=replace(timings, queued_s=self.began - self.came))
        return event

    def slot_info(self, id: int, n_ctx: int) -> SlotInfo:
        assert self.worker is not None
        counts = self.n_read, self.n_reused, self.n_made
        return SlotInfo(id, self.worker, n_ctx, self.job.id, len(self.job.ids), *counts)


def count(metrics: Metrics, ended: str, done: Done | None = None) -> None:
    """A job that ended, into figures of all jobs."""
    metrics.n_jobs[ended] = metrics.n_jobs.get(ended, 0) + 1
    if done:
        metrics.n_prompt += done.usage.n_prompt - done.usage.n_reused
        metrics.n_reused += done.usage.n_reused
        metrics.n_generated += done.usage.n_generated
        metrics.prompt_s += done.timings.prompt_s
        metrics.generate_s += done.timings.generate_s
