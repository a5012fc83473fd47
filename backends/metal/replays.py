"""Parts of a plan that Metal keeps: indirect command buffers, told once and executed at each run by a few calls.

Not the default: nobody measured them, and GPUs before the M3 need more than documentation says.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from .context import Context
from .encoding import Encoded
from .steps import Step


class Replayed:
    """A part whose steps, made alone, are commands; those of branches are encoded, since a command has its grid."""

    def __init__(self, context: Context, steps: Sequence[Step]) -> None:
        self._metal = context.metal
        self._usage = self._metal.MTLResourceUsageRead | self._metal.MTLResourceUsageWrite
        self._buffers = list(dict.fromkeys(buffer for step in steps for buffer, _ in step.bound))
        runs = [list(run) for _, run in groupby(steps, lambda step: step.grids is None)]
        self._runs = [_Commands(context, run) if run[0].grids is None else Encoded(context, run) for run in runs]

    def encode(self, encoder: Any) -> None:
        encoder.useResources_count_usage_(self._buffers, len(self._buffers), self._usage)
        for run in self._runs:
            run.encode(encoder)


class _Commands:
    def __init__(self, context: Context, steps: Sequence[Step]) -> None:
        metal = context.metal
        self._scope, self._barrier = metal.MTLBarrierScopeBuffers, steps[0].barrier
        self._range = metal.NSMakeRange(0, len(steps))
        make = context.device.newIndirectCommandBufferWithDescriptor_maxCommandCount_options_
        self._kept = make(_descriptor(metal, steps), len(steps), metal.MTLResourceStorageModeShared)
        for i, step in enumerate(steps):
            _tell(self._kept.indirectComputeCommandAtIndex_(i), step, barrier=step.barrier and i > 0)

    def encode(self, encoder: Any) -> None:
        if self._barrier:
            encoder.memoryBarrierWithScope_(self._scope)
        encoder.executeCommandsInBuffer_withRange_(self._kept, self._range)


def _descriptor(metal: Any, steps: Sequence[Step]) -> Any:
    made = metal.MTLIndirectCommandBufferDescriptor.alloc().init()
    made.setCommandTypes_(metal.MTLIndirectCommandTypeConcurrentDispatch)
    made.setInheritBuffers_(False)
    made.setInheritPipelineState_(False)
    made.setMaxKernelBufferBindCount_(max(len(step.bound) for step in steps))
    return made


def _tell(command: Any, step: Step, barrier: bool) -> None:
    command.setComputePipelineState_(step.state)
    for i, (buffer, offset) in enumerate(step.bound):
        command.setKernelBuffer_offset_atIndex_(buffer, offset, i)
    if barrier:
        command.setBarrier()
    command.concurrentDispatchThreadgroups_threadsPerThreadgroup_(step.grid, step.threads)
