"""A plan made ready on a Metal device."""

from dataclasses import dataclass, field

import numpy as np

from ...runtime import config
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.kernel import Features
from ..base import Progress, noted
from ..lowered import dispatches_of
from ..packing import packed_nbytes
from ..replayed import Output, Programs, ReplayedProgram, outputs_of
from ..residents import Residents
from ..work import budget
from .context import Context
from .encoding import Encoded, Part, go, parts_of, seconds
from .kernels import Kernels
from .memory import ArenaMemory, Place, Pool
from .replays import Replayed
from .steps import Arguments, Bound, Branches, StepMaker


@dataclass(eq=False)
class Resources:
    """What a device's programs share. `residents` are weights, states and inputs; temporaries stand in `arena`,
    or (apart) in memory of their own; `own` is what a program keeps for itself."""

    context: Context
    features: Features
    pools: dict[Kind, Pool]
    apart: bool
    kernels: Kernels
    arena: ArenaMemory
    own: Pool
    residents: Residents[Place]
    programs: Programs = field(default_factory=Programs)


class MetalProgram(ReplayedProgram):
    """Outputs stand in shared memory, so that nothing is copied for the host on the device: temporaries that are
    outputs have memory of their own, and of others the host takes a copy when it has waited."""

    def __init__(self, resources: Resources, plan: Plan, progress: Progress | None = None) -> None:
        super().__init__(resources.programs)
        self._resources, self._plan, self._context = resources, plan, resources.context
        self._own: dict[Storage, Place] = {}
        self._arguments_place: Place | None = None
        self._copied: list[tuple[np.ndarray, np.ndarray]] = []  # outputs to copy, from where
        self._maker: StepMaker | None = None
        self._deciders: Part | None = None
        self._parts: list[Part] = []
        self._generation = -1
        self._closed = False
        self._dispatches = dispatches_of(plan, resources.features)
        self._branches = Branches(self._dispatches)
        dispatched = (*self._branches.deciders, *self._dispatches)
        self._arguments = Arguments(dispatched)
        self.storages = frozenset(s for d in dispatched for s in d.storages if s.kind is not Kind.TEMP)
        try:
            self._pipelines = resources.kernels.get((d.call.code for d in dispatched), progress)
            with self._context.lock:
                self._context.come_to_rest()
                self._take_memory()
                self._require_steps()
        except BaseException:
            self.close()
            raise

    def submit(self) -> None:
        with self._context.lock:
            self._require_open()
            self._require_room()
            self._require_steps()
            self._flying.append(go(self._context, self._deciders, self._parts))

    def wait(self) -> None:
        with self._context.lock:
            if self._flying:
                self._context.wait(self._flying.popleft())
                for target, source in self._copied:
                    target[:] = source

    def profile(self) -> list[float]:
        taken = [0.0] * len(self._plan.nodes)
        with self._context.lock:
            self._require_open()
            make = self._require_steps()
            if self._deciders:
                seconds(self._context, self._deciders)
            for dispatch in self._dispatches:
                taken[dispatch.node] += seconds(self._context, Encoded(self._context, make.part([dispatch], ())))
        return noted(self._plan, taken)

    def close(self) -> None:
        with self._context.lock:
            if self._closed:
                return
            self._closed = True
            self._context.come_to_rest()
            for held in (self._flying, self._results, self._copied, self._parts):
                held.clear()
            self._maker = self._deciders = None
            self._resources.own.give(self._own.values())
            self._resources.own.give([self._arguments_place] if self._arguments_place else [])
            self._own.clear()

    def _take_memory(self) -> None:
        """For the kernels' arguments, the branches' grids, temporaries that stand apart, and those that are outputs."""
        outputs, temps = outputs_of(self._plan), self._plan.storages(Kind.TEMP)
        shown = {o.tensor.storage for o in outputs}
        owned = [s for s in temps if s in shown or self._resources.apart]
        owned += [self._branches.grids] if self._branches.rows else []
        places = self._resources.own.take((s.name, packed_nbytes(s)) for s in owned)
        self._own = dict(zip(owned, places, strict=True))
        if self._arguments.nbytes:
            (self._arguments_place,) = self._resources.own.take([("arguments", self._arguments.nbytes)])
            self._arguments.write(self._arguments_place)
        self._keep_results((o, self._result(o)) for o in outputs)

    def _result(self, output: Output) -> np.ndarray:
        storage = output.tensor.storage
        place = self._own.get(storage) or self._resources.residents.place(storage)
        shared = place.bytes[output.start : output.start + output.nbytes]
        if storage in self._own:
            return shared
        copy = np.empty_like(shared)
        self._copied.append((copy, shared))
        return copy

    def _require_steps(self) -> StepMaker:
        """Found anew where the arena has moved since."""
        arena = self._resources.arena
        if not self._resources.apart:
            arena.require(self._plan.arena.nbytes)
        if self._maker is None or self._generation != arena.generation:
            self._generation = arena.generation
            self._maker = self._made_steps()
        return self._maker

    def _made_steps(self) -> StepMaker:
        plan, place = self._plan, self._arguments_place
        at = (place.block.buffer, place.offset) if place else (None, 0)
        make = StepMaker(self._context.metal, self._pipelines, self._spot, self._arguments, at, self._branches)
        told, alone = (Replayed, True) if self._context.replays else (Encoded, False)
        parts = parts_of(self._dispatches, plan.nodes, budget(self._context.physical.kind), early=not alone)
        deciders = self._branches.deciders
        self._deciders = Encoded(self._context, make.part(deciders, ())) if deciders else None
        self._parts = [told(self._context, make.part(part, plan.barriers, alone)) for part in parts]
        config.note(
            3,
            f"{len(parts)} command buffers of {len(self._dispatches)} dispatches, {plan.n_barriers} barriers, "
            f"{plan.arena.nbytes} bytes of temporaries",
        )
        return make

    def _spot(self, storage: Storage) -> Bound:
        if storage in self._own:
            place = self._own[storage]
        elif storage.kind is Kind.TEMP:
            assert self._resources.arena.place is not None
            arena = self._resources.arena.place
            return arena.block.buffer, arena.offset + self._plan.arena.offsets[storage]
        else:
            place = self._resources.residents.place(storage)
        return place.block.buffer, place.offset
