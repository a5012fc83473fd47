"""Command buffers and encoders: they record, and refuse what Metal's documentation rules out."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .memory import Buffer
from .pipelines import MAX_BUFFERS, ComputePipelineState
from .rules import demand
from .values import Failure, Range, Size

OFFSET_ALIGNMENT, CONSTANT_ALIGNMENT, GRID_ALIGNMENT, BYTES_MAX = 16, 32, 4, 4096
NOT_ENQUEUED, COMMITTED, COMPLETED, ERROR = 0, 2, 4, 5  # MTLCommandBufferStatus
READ, WRITE = 1, 2  # MTLResourceUsage
CONCURRENT, BUFFERS = "MTLDispatchTypeConcurrent", "MTLBarrierScopeBuffers"

Bound = tuple["weakref.ref[Buffer]", int] | bytes  # a buffer and an offset, or what setBytes copied


@dataclass(eq=False)
class Dispatch:
    """With all that was bound; indirect: where its grid stands."""

    pipeline: "weakref.ref[ComputePipelineState]"
    bound: list[Bound]
    grid: Size | None
    threads: Size
    indirect: Bound | None = None


@dataclass(frozen=True)
class Barrier:
    pass


class CommandBuffer:
    def __init__(self, queue: Any) -> None:
        self._queue, self.device = queue, queue.device
        self.encoders: list[ComputeEncoder] = []
        self.state, self.failure = NOT_ENQUEUED, None
        self.handlers: list[Callable[[CommandBuffer], None]] = []

    def computeCommandEncoderWithDispatchType_(self, kind: str) -> "ComputeEncoder":
        self.device.count("computeCommandEncoderWithDispatchType_")
        self.device.demand_pool()
        demand(self.state == NOT_ENQUEUED, "commit", "an encoder after commit")
        demand(all(e.has_ended for e in self.encoders), "one encoder", "an encoder beside one that has not ended")
        self.encoders.append(ComputeEncoder(self.device, kind == CONCURRENT))
        return self.encoders[-1]

    def addCompletedHandler_(self, handler: Callable[["CommandBuffer"], None]) -> None:
        self.device.count("addCompletedHandler_")
        demand(self.state == NOT_ENQUEUED, "commit", "a handler after commit")
        self.handlers.append(handler)

    def commit(self) -> None:
        self.device.count("commit")
        demand(self.state == NOT_ENQUEUED, "commit", "a second commit")
        demand(all(e.has_ended for e in self.encoders), "one encoder", "a commit before the encoder has ended")
        self.state = COMMITTED
        self._queue.committed(self)

    def waitUntilCompleted(self) -> None:
        self.device.count("waitUntilCompleted")
        demand(self.state != NOT_ENQUEUED, "commit", "a wait for what was not committed")
        self._queue.run_to(self)

    def status(self) -> int:
        self.device.count("status")
        return self.state

    def error(self) -> Failure | None:
        return self.failure

    def GPUStartTime(self) -> float:
        demand(self.state >= COMPLETED, "completion", "times before completion")
        return 1.0

    def GPUEndTime(self) -> float:
        return 1.5


class ComputeEncoder:
    """MTLComputeCommandEncoder. `commands` are its dispatches and barriers."""

    def __init__(self, device: Any, is_concurrent: bool) -> None:
        self._device, self.is_concurrent, self.has_ended = device, is_concurrent, False
        self.commands: list[Dispatch | Barrier] = []
        self._table: dict[int, Bound] = {}
        self._declared: set[int] = set()
        self._pipeline: weakref.ref[ComputePipelineState] | None = None

    def setComputePipelineState_(self, pipeline: ComputePipelineState | None) -> None:
        self._called("setComputePipelineState_")
        demand(pipeline is not None, "errors", "no pipeline")
        self._pipeline = weakref.ref(pipeline)

    def setBuffer_offset_atIndex_(self, buffer: Buffer, offset: int, index: int) -> None:
        self._called("setBuffer_offset_atIndex_")
        self._bind(buffer, offset, index)

    def setBuffers_offsets_withRange_(self, buffers: Sequence[Buffer], offsets: Sequence[int], slots: Range) -> None:
        self._called("setBuffers_offsets_withRange_")
        demand(
            len(buffers) == len(offsets) == slots.length, "table", f"{len(buffers)} buffers for {slots.length} slots"
        )
        for i, (buffer, offset) in enumerate(zip(buffers, offsets, strict=True)):
            self._bind(buffer, offset, slots.location + i)

    def setBytes_length_atIndex_(self, data: bytes, nbytes: int, index: int) -> None:
        self._called("setBytes_length_atIndex_")
        demand(1 <= nbytes <= BYTES_MAX and nbytes <= len(data), "bytes", f"{nbytes} of {len(data)} bytes")
        demand(0 <= index < MAX_BUFFERS, "table", f"index {index}")
        self._table[index] = bytes(data[:nbytes])

    def memoryBarrierWithScope_(self, scope: str) -> None:
        self._called("memoryBarrierWithScope_")
        demand(scope == BUFFERS, "barrier", f"a barrier over {scope}, where kernels use buffers")
        demand(
            bool(self.commands) and self.commands[-1] != Barrier(), "barrier", "a barrier with no dispatch before it"
        )
        self.commands.append(Barrier())

    def dispatchThreadgroups_threadsPerThreadgroup_(self, grid: Size, threads: Size) -> None:
        self._called("dispatchThreadgroups_threadsPerThreadgroup_")
        demand(min(grid) >= 1, "threads", f"a grid of {tuple(grid)}")
        self._dispatch(grid, threads, None)

    def dispatchThreadgroupsWithIndirectBuffer_indirectBufferOffset_threadsPerThreadgroup_(
        self, buffer: Buffer, offset: int, threads: Size
    ) -> None:
        self._called("dispatchThreadgroupsWithIndirectBuffer_indirectBufferOffset_threadsPerThreadgroup_")
        fits = offset % GRID_ALIGNMENT == 0 and 0 <= offset <= buffer.length() - 12
        demand(fits, "alignment", f"a grid at byte {offset} of {buffer.length()}")
        self._dispatch(None, threads, (weakref.ref(buffer), offset))

    def useResources_count_usage_(self, resources: Sequence[Buffer], count: int, usage: int) -> None:
        self._called("useResources_count_usage_")
        demand(len(resources) == count and usage == READ | WRITE, "resources", f"{count} resources for usage {usage}")
        self._declared |= {id(r) for r in resources}

    def executeCommandsInBuffer_withRange_(self, buffer: Any, run: Range) -> None:
        self._called("executeCommandsInBuffer_withRange_")
        for dispatch, barrier in buffer.run(run):
            used = [b[0]() for b in dispatch.bound if not isinstance(b, bytes)]
            declared = all(u is not None and id(u) in self._declared for u in used)
            demand(declared, "resources", "a command uses a buffer that the encoder does not declare")
            self.commands += [Barrier(), dispatch] if barrier else [dispatch]

    def endEncoding(self) -> None:
        self._called("endEncoding")
        ends_well = not self.commands or self.commands[-1] != Barrier()
        demand(ends_well, "barrier", "a barrier with no dispatch behind it")
        self.has_ended = True

    def __del__(self) -> None:
        if not self.has_ended:
            self._device.misuses.append("ended: an encoder went before endEncoding")

    def _called(self, name: str) -> None:
        self._device.count(name)
        demand(not self.has_ended, "ended", f"{name} after endEncoding")

    def _bind(self, buffer: Buffer, offset: int, index: int) -> None:
        self._table[index] = bound_at(buffer, offset, index)

    def _dispatch(self, grid: Size | None, threads: Size, indirect: Bound | None) -> None:
        self.commands.append(dispatch_of(self._pipeline, self._table, grid, threads, indirect))


def dispatch_of(
    bound_pipeline: "weakref.ref[ComputePipelineState] | None",
    table: Mapping[int, Bound],
    grid: Size | None,
    threads: Size,
    indirect: Bound | None = None,
) -> Dispatch:
    """With what is set and bound, where that is all that its kernel needs."""
    demand(bound_pipeline is not None, "pipeline", "a dispatch without a pipeline")
    assert bound_pipeline is not None
    pipeline = bound_pipeline()
    demand(pipeline is not None, "released", "a pipeline that is gone")
    assert pipeline is not None
    kernel, n = pipeline.kernel, threads.width * threads.height * threads.depth
    fits = 1 <= n <= pipeline.maxTotalThreadsPerThreadgroup() and n == kernel.n_threads
    demand(fits, "threads", f"{n} threads for a kernel of {kernel.n_threads}")
    whole = not pipeline.is_whole or n % pipeline.threadExecutionWidth() == 0
    demand(whole, "simdgroups", f"{n} threads where whole simdgroups were promised")
    wanted = range(kernel.n_buffers + bool(kernel.arguments_nbytes))
    missing = [i for i in wanted if i not in table]
    demand(not missing, "bound", f"nothing bound at {missing}")
    bound = [table[i] for i in wanted]
    if kernel.arguments_nbytes and not isinstance(at := bound[-1], bytes):
        demand(at[1] % CONSTANT_ALIGNMENT == 0, "alignment", f"arguments at byte {at[1]}")
    return Dispatch(bound_pipeline, bound, grid, threads, indirect)


def bound_at(buffer: Buffer, offset: int, index: int) -> Bound:
    demand(0 <= index < MAX_BUFFERS, "table", f"index {index}")
    inside = 0 <= offset < buffer.length() and offset % OFFSET_ALIGNMENT == 0
    demand(inside, "alignment", f"offset {offset} of {buffer.length()} bytes")
    return weakref.ref(buffer), offset
