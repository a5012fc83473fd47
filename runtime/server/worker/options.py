"""WorkerOptions: what is loaded into how many processes, and the bounds of what they are asked."""

from dataclasses import dataclass

from ...arguments import DEFAULT_CACHE_TYPE, check_cache_types, check_range
from ...errors import UsageError

MODULE = "vkrun.runtime.server.worker.main"


@dataclass(frozen=True)
class WorkerOptions:
    """path, backend, device, n_ctx, n_seqs, opt, cache_ram, swa_full, cache_type_k, cache_type_v: as for load(), for
    each of n_replicas processes.

    max_queue: jobs that may wait, and those that may of one user. step_seconds: after which a process that has work and
    gives no sign of it is taken for hung; load_seconds: the same while it loads or compiles. stall_seconds: how long a
    reader may leave its answer unread. max_gap: usual gaps between two tokens that one may last while a prompt is read,
    None where the mean alone is held (runtime/engine/pace.py). module: what a process runs.
    """

    path: str
    backend: str | None = None
    device: str | None = None
    n_ctx: int = 4096
    n_seqs: int = 4
    opt: int = 3
    cache_ram: int | None = None
    swa_full: bool = False
    cache_type_k: str = DEFAULT_CACHE_TYPE
    cache_type_v: str = DEFAULT_CACHE_TYPE
    n_replicas: int = 1
    max_queue: int = 256
    max_queue_user: int = 128
    step_seconds: float = 120.0
    load_seconds: float = 1800.0
    stall_seconds: float = 60.0
    max_gap: float | None = None
    module: str = MODULE

    def __post_init__(self) -> None:
        check_cache_types(cache_type_k=self.cache_type_k, cache_type_v=self.cache_type_v)
        check_range("n_replicas", self.n_replicas, 1, 64)
        check_range("max_queue", self.max_queue, 0, 1 << 20)
        check_range("max_queue_user", self.max_queue_user, 0, 1 << 20)
        for name in ("step_seconds", "load_seconds", "stall_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name}: {getattr(self, name)}, expected a positive number")
        if self.max_gap is not None and not 1 <= self.max_gap <= 1000:
            raise UsageError(f"max_gap: {self.max_gap}, expected 1 to 1000")
