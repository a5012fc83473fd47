"""Indirect command buffers: commands that are told once."""

import weakref
from typing import Any

from .commands import Bound, Dispatch, bound_at, dispatch_of
from .memory import Buffer
from .pipelines import MAX_BUFFERS, ComputePipelineState
from .rules import demand
from .values import Made, Range, Size

MAX_COMMANDS = 16384


class IndirectCommandBufferDescriptor(Made):
    def __init__(self) -> None:
        self.types, self.inherits, self.max_buffers = "", True, 0

    def setCommandTypes_(self, types: str) -> None:
        self.types = types

    def setInheritBuffers_(self, inherits: bool) -> None:
        self.inherits = inherits

    def setInheritPipelineState_(self, inherits: bool) -> None:
        self.inherits |= inherits

    def setMaxKernelBufferBindCount_(self, n: int) -> None:
        demand(0 < n <= MAX_BUFFERS, "table", f"{n} buffers a command")
        self.max_buffers = n


class IndirectCommandBuffer:
    def __init__(self, device: Any, descriptor: IndirectCommandBufferDescriptor, n: int) -> None:
        demand(0 < n <= MAX_COMMANDS, "indirect", f"{n} commands")
        demand(descriptor.types == "MTLIndirectCommandTypeConcurrentDispatch", "indirect", "commands of another type")
        self._device, self._descriptor = device, descriptor
        self._commands = [IndirectComputeCommand(device, descriptor) for _ in range(n)]

    def indirectComputeCommandAtIndex_(self, index: int) -> "IndirectComputeCommand":
        demand(index < len(self._commands), "indirect", f"command {index} of {len(self._commands)}")
        return self._commands[index]

    def run(self, run: Range) -> list[tuple[Dispatch, bool]]:
        """Dispatches, and whether a barrier comes before each."""
        demand(run.location + run.length <= len(self._commands), "indirect", f"commands {tuple(run)}")
        return [c.told for c in self._commands[run.location : run.location + run.length]]


class IndirectComputeCommand:
    def __init__(self, device: Any, descriptor: IndirectCommandBufferDescriptor) -> None:
        self._device, self._descriptor = device, descriptor
        self._table: dict[int, Bound] = {}
        self._pipeline: weakref.ref[ComputePipelineState] | None = None
        self._dispatch: Dispatch | None = None
        self._barrier = False

    @property
    def told(self) -> tuple[Dispatch, bool]:
        demand(self._dispatch is not None, "indirect", "a command that was never encoded")
        assert self._dispatch is not None
        return self._dispatch, self._barrier

    def setComputePipelineState_(self, pipeline: ComputePipelineState) -> None:
        self._device.count("commands told")
        demand(pipeline.is_indirect, "indirect", "a pipeline without supportIndirectCommandBuffers")
        self._pipeline = weakref.ref(pipeline)

    def setKernelBuffer_offset_atIndex_(self, buffer: Buffer, offset: int, index: int) -> None:
        demand(index < self._descriptor.max_buffers, "table", f"index {index} of {self._descriptor.max_buffers}")
        self._table[index] = bound_at(buffer, offset, index)

    def setBarrier(self) -> None:
        self._barrier = True

    def concurrentDispatchThreadgroups_threadsPerThreadgroup_(self, grid: Size, threads: Size) -> None:
        demand(self._dispatch is None, "indirect", "a command that was encoded before")
        self._dispatch = dispatch_of(self._pipeline, self._table, grid, threads)
