"""Parts of a plan as command buffers.

A call through pyobjc costs about a microsecond, and a token of a large model has some hundred dispatches. So what can
be is found beforehand (see steps.py), and the GPU begins with a first, short part while the rest is encoded.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from ...runtime.ir.graph import Node
from ..lowered import Dispatch
from ..work import pieces
from . import api
from .context import Context
from .steps import Step

EARLY_MIN = 64  # dispatches from which on the first ones go ahead
EARLY_SHARE = 8  # one of so many


class Part(Protocol):
    """What one concurrent encoder is told: what stands between two barriers has no order."""

    def encode(self, encoder: Any) -> None: ...


class Encoded:
    """A part that is told step by step at each run, by as few calls as Metal has."""

    def __init__(self, context: Context, steps: Sequence[Step]) -> None:
        self._scope, self._steps = context.metal.MTLBarrierScopeBuffers, steps

    def encode(self, encoder: Any) -> None:
        barrier, set_pipeline = encoder.memoryBarrierWithScope_, encoder.setComputePipelineState_
        set_buffers = encoder.setBuffers_offsets_withRange_
        dispatch = encoder.dispatchThreadgroups_threadsPerThreadgroup_
        indirect = encoder.dispatchThreadgroupsWithIndirectBuffer_indirectBufferOffset_threadsPerThreadgroup_
        for step in self._steps:
            if step.barrier:
                barrier(self._scope)
            if step.pipeline is not None:
                set_pipeline(step.pipeline)
            set_buffers(step.buffers, step.offsets, step.slots)
            if step.grids is None:
                dispatch(step.grid, step.threads)
            else:
                indirect(*step.grids, step.threads)


def parts_of(
    dispatches: Sequence[Dispatch], nodes: Sequence[Node], most: float, early: bool = True
) -> list[list[Dispatch]]:
    """Runs of dispatches for a command buffer each, within a budget of operations; early: of a long one the first
    dispatches by themselves."""
    first, *rest = pieces(dispatches, lambda dispatch: nodes[dispatch.node], most)
    if len(first) < EARLY_MIN or not early:
        return [first, *rest]
    n = len(first) // EARLY_SHARE
    return [first[:n], first[n:], *rest]


def go(context: Context, before: Part | None, parts: Sequence[Part]) -> Any:
    """Encode and commit part after part, `before` in an encoder of its own; returns the last command buffer. Encoders
    wait for each other, since Metal tracks which buffers they touch."""
    with api.pool():
        buffer = None
        for i, part in enumerate(parts):
            buffer = context.command_buffer()
            for told in (before, part) if before and i == 0 else (part,):
                encoder = buffer.computeCommandEncoderWithDispatchType_(context.metal.MTLDispatchTypeConcurrent)
                told.encode(encoder)
                encoder.endEncoding()
            context.commit(buffer)
        return buffer


def seconds(context: Context, part: Part) -> float:
    """What it takes by itself."""
    with api.pool():
        buffer = go(context, None, [part])
        context.wait(buffer)
        return buffer.GPUEndTime() - buffer.GPUStartTime()
