"""A plan made ready on a CUDA device."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from ...runtime import config
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.kernel import Features
from ..base import Progress, noted
from ..lowered import dispatches_of
from ..packing import packed_nbytes
from ..replayed import IN_FLIGHT, Programs, ReplayedProgram, outputs_of
from ..residents import Residents
from ..work import budget, pieces
from . import api
from .context import Context
from .graphs import Copy, ExecutableGraph, graphs_of, seconds
from .kernels import KernelKey, Kernels
from .launches import launches_of
from .memory import ArenaMemory, Place, Pool
from .transfers import UNTIMED, Pinned, Uploads, timed_events


@dataclass(eq=False)
class Resources:
    """What a device's programs share. `residents` are weights, states and inputs; temporaries stand in `arena`,
    or (apart) in memory of their own."""

    context: Context
    features: Features
    pools: dict[Kind, Pool]
    apart: bool
    kernels: Kernels
    arena: ArenaMemory
    uploads: Uploads
    residents: Residents[Place]
    programs: Programs = field(default_factory=Programs)


class CudaProgram(ReplayedProgram):
    def __init__(self, resources: Resources, plan: Plan, progress: Progress | None = None) -> None:
        super().__init__(resources.programs)
        self._resources, self._plan, self._context = resources, plan, resources.context
        self._events: list[Any] = []
        self._temps: dict[Storage, Place] = {}
        self._pinned: Pinned | None = None
        self._graphs: list[ExecutableGraph] = []
        self._closed = False
        dispatches = dispatches_of(plan, resources.features)
        self.storages = frozenset(s for d in dispatches for s in d.storages if s.kind is not Kind.TEMP)
        try:
            with self._context.current():
                kernels = resources.kernels.get(map(KernelKey.of, dispatches), progress)
                self._temps = self._own_temps()
                self._take_results()
                self._events = [api.call("cuEventCreate", UNTIMED) for _ in range(IN_FLIGHT)]
            self._launches = launches_of(dispatches, kernels, self._at)
            self._context.enter()  # others go on meanwhile
            if config.read().has("CUDA_GRAPH"):
                self._graphs = self._built()
        except BaseException:
            self.close()
            raise

    @property
    def launched(self) -> list[int]:
        """The plan's nodes by number, in the order in which a run without a graph launches their kernels."""
        return [launch.node for launch in self._launches]

    def submit(self) -> None:
        with self._context.current():
            self._require_open()
            self._require_room()
            event = next(e for e in self._events if e not in self._flying)
            for graph in self._graphs:
                graph.launch(self._context.stream)
            if not self._graphs:
                self._go()
            api.call("cuEventRecord", event, self._context.stream)
            self._flying.append(event)

    def wait(self) -> None:
        with self._context.current():
            if self._flying:
                api.call("cuEventSynchronize", self._flying.popleft())

    def profile(self) -> list[float]:
        taken = [0.0] * len(self._plan.nodes)
        with self._context.current():
            self._require_open()
            events = timed_events(len(self._launches) + 1)
            try:
                for launch, s in zip(self._launches, seconds(self._context, self._launches, events), strict=True):
                    taken[launch.node] += s
            finally:
                for event in events:
                    api.release("cuEventDestroy", event)
        return noted(self._plan, taken)

    def close(self) -> None:
        if self._closed:
            return
        with self._context.current():
            self._closed = True
            self._context.come_to_rest()
            self._flying.clear()
            for graph in self._graphs:
                graph.close()
            for event in self._events:
                api.release("cuEventDestroy", event)
            if self._pinned is not None:
                self._results.clear()
                self._pinned.close()
            self._resources.pools[Kind.TEMP].give(self._temps.values())
            self._temps.clear()

    def _own_temps(self) -> dict[Storage, Place]:
        """Places for temporaries that stand apart; else the arena has room for all."""
        if not self._resources.apart:
            self._resources.arena.require(self._plan.arena.nbytes)
            return {}
        temps = self._plan.storages(Kind.TEMP)
        return dict(
            zip(temps, self._resources.pools[Kind.TEMP].take((s.name, packed_nbytes(s)) for s in temps), strict=True)
        )

    def _at(self, storage: Storage) -> int:
        if storage in self._temps:
            return self._temps[storage].address
        if storage.kind is Kind.TEMP:
            return self._resources.arena.address + self._plan.arena.offsets[storage]
        return self._resources.residents.place(storage).address

    def _built(self) -> list[ExecutableGraph]:
        physical, nodes, asked = self._context.physical, self._plan.nodes, config.read()
        most = budget(physical.kind) if physical.is_watched or asked.submit_gflop else inf
        runs = pieces(self._launches, lambda launch: nodes[launch.node], most)
        config.note(
            3,
            f"{len(runs)} graphs of {len(self._launches)} launches, {self._plan.n_barriers} barriers, "
            f"{self._plan.arena.nbytes} bytes of temporaries",
        )
        copies, early = list(self._copies()), asked.has("DEPENDENT_LAUNCH")
        return graphs_of(self._context, runs, self._plan.barriers, copies, early=early)

    def _go(self) -> None:
        """Without a graph, one after the other."""
        for launch in self._launches:
            launch.go(self._context.stream)
        for copy in self._copies():
            api.call("cuMemcpyDtoHAsync", copy.target, copy.source, copy.nbytes, self._context.stream)

    def _copies(self) -> Iterable[Copy]:
        for output, raw in self._results.values():
            if output.nbytes:
                yield Copy(self._at(output.tensor.storage) + output.start, raw.ctypes.data, output.nbytes)

    def _take_results(self) -> None:
        outputs = outputs_of(self._plan)
        ends = np.cumsum([-(-o.nbytes // 16) * 16 for o in outputs], dtype=np.int64).tolist()
        pinned = self._pinned = Pinned(ends[-1] if ends else 0)
        starts = [0, *ends]
        self._keep_results((o, pinned.bytes[at : at + o.nbytes]) for o, at in zip(outputs, starts, strict=False))
