"""What a plan asks of Metal, call by call, without memory for its storages and without compiling its kernels."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from vkrun.backends.lowered import dispatches_of
from vkrun.backends.metal.context import Context
from vkrun.backends.metal.encoding import Encoded, go, parts_of
from vkrun.backends.metal.kernels import Pipeline
from vkrun.backends.metal.physical import physicals
from vkrun.backends.metal.replays import Replayed
from vkrun.backends.metal.steps import Arguments, Branches, StepMaker
from vkrun.backends.work import budget
from vkrun.runtime.ir.plan import Plan
from vkrun.runtime.ir.tensor import Storage
from vkrun.shaders.kernel import Features, KernelCode
from vkrun.shaders.metal import metal_code

from .framework import StandIn
from .memory import Buffer
from .pipelines import ComputePipelineDescriptor, ComputePipelineState, Function


class Declared:
    """A kernel of which nothing but its declarations is there."""

    threadgroup_nbytes = 0

    def __init__(self, code: KernelCode) -> None:
        made = metal_code(code)
        self.n_buffers, self.arguments_nbytes, self.n_threads = made.n_buffers, made.arguments_nbytes, made.n_threads

    def run(self, buffers: Sequence[np.ndarray], arguments: bytes, grid: Sequence[int]) -> str:
        return ""


class Hole(Buffer):
    """A buffer of which nothing but its length is there."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def length(self) -> int:
        return self._nbytes


class Planned:
    """Steps of a plan, ready to be encoded on a stand-in that is in place. `calls` counts those of one run,
    `arguments_nbytes` are what all kernels' arguments take."""

    def __init__(self, mac: StandIn, plan: Plan, features: Features) -> None:
        dispatches = dispatches_of(plan, features)
        branches = Branches(dispatches)
        arguments = Arguments([*branches.deciders, *dispatches])
        codes = {d.call.code for d in (*branches.deciders, *dispatches)}
        pipelines = {code: self._pipeline(mac, code) for code in codes}
        self._held = Hole(1 << 40), Hole(arguments.nbytes), pipelines
        make = StepMaker(mac, pipelines, self._spot, arguments, (self._held[1], 0), branches)
        (physical,) = physicals()
        context = Context(physical)
        told, alone = (Replayed, True) if context.replays else (Encoded, False)
        listed = parts_of(dispatches, plan.nodes, budget(physical.kind), early=not alone)
        parts = [told(context, make.part(part, plan.barriers, alone)) for part in listed]
        self.arguments_nbytes, self.n_dispatches = arguments.nbytes, len(dispatches)
        before = mac.calls.copy()
        go(context, Encoded(context, make.part(branches.deciders, ())) if branches.deciders else None, parts)
        self.calls: Counter[str] = mac.calls - before

    def _spot(self, storage: Storage) -> tuple[Any, int]:
        """All stand in one buffer, a GiB each."""
        return self._held[0], id(storage) % 1000 << 20

    def _pipeline(self, mac: StandIn, code: KernelCode) -> Pipeline:
        descriptor = ComputePipelineDescriptor()
        descriptor.setComputeFunction_(Function("", Declared(code)))
        descriptor.setSupportIndirectCommandBuffers_(True)
        return Pipeline(ComputePipelineState(descriptor, 1024, 32), mac.MTLSize(metal_code(code).n_threads, 1, 1))
