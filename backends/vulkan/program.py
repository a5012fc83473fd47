"""A plan made ready on a Vulkan device."""

from ...runtime import config
from ...runtime.errors import BackendError
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ..base import Progress, noted
from ..packing import packed_nbytes
from ..replayed import Output, ReplayedProgram, outputs_of
from ..work import pieces
from .branches import Branches
from .dispatches import dispatches_of
from .memory import Place
from .pipelines import PipelineKey
from .recording import Recording, Script, Spot, place_spot
from .resources import Resources


class VulkanProgram(ReplayedProgram):
    """Recorded when first run, and again when the device's arena has moved since."""

    def __init__(self, resources: Resources, plan: Plan, progress: Progress | None = None) -> None:
        super().__init__(resources.programs)
        self._resources, self._plan = resources, plan
        self._dispatches = dispatches_of(plan, resources.features, resources.limits)
        self._branches = Branches(self._dispatches, resources.limits)
        dispatched = (*self._branches.deciders, *self._dispatches)
        bound = (t.storage for s in dispatched for t in s.call.buffers.values())
        self.storages = frozenset(storage for storage in bound if storage.kind is not Kind.TEMP)
        self._pipelines = resources.pipelines.get((PipelineKey.of(s.call) for s in dispatched), progress)
        self._temps: dict[Storage, Place] = {}
        self._outputs: dict[Output, Place] = {}
        self._recordings: list[Recording] = []  # used in turn, so that one can be submitted while another runs
        self._generation = -1
        self._closed = False
        try:
            with resources.logical.lock:
                self._temps = self._own_temps()
                self._outputs = self._take_outputs()
                self._keep_results((o, place.bytes) for o, place in self._outputs.items())
                self._recorded()
        except BaseException:
            self.close()
            raise

    def submit(self) -> None:
        with self._resources.logical.lock:
            self._require_room()
            recording = self._recorded()
            recording.submit()
            self._flying.append(recording)

    def wait(self) -> None:
        with self._resources.logical.lock:
            if self._flying:
                self._flying.popleft().finish()
        if self._resources.validated:
            self._resources.check_validation()

    def profile(self) -> list[float]:
        limits, n = self._resources.limits, len(self._plan.nodes)
        if not limits.timestamp_ns:
            raise BackendError(f"{self._resources.logical.physical.name}: has no timestamps, so nothing can be timed")
        with self._resources.logical.lock:
            self._recorded()
            timed = Recording(self._resources, self._script(), n)
            try:
                timed.run()
                taken = timed.seconds(sorted({s.node for s in self._dispatches}))
            finally:
                timed.close()
        return noted(self._plan, [taken.get(i, 0.0) for i in range(n)])

    def close(self) -> None:
        with self._resources.logical.lock:
            if self._closed:
                return
            self._closed = True
            self._discard()
            pools = self._resources.pools
            self._results.clear()
            pools["readback"].give(self._outputs.values())
            pools["temp"].give(self._temps.values())

    def _recorded(self) -> Recording:
        self._require_open()
        arena = self._resources.arena
        if not self._resources.validated:
            arena.require(self._plan.arena.nbytes)
        if self._generation != arena.generation:
            self._discard()
            self._generation = arena.generation
        idle = next((r for r in self._recordings if r not in self._flying), None)
        if idle is None:
            idle = Recording(self._resources, self._script())
            self._recordings.append(idle)
        return idle

    def _discard(self) -> None:
        """Close the recordings, once what runs has come to its end."""
        while self._flying:
            self._flying.popleft().finish()
        for recording in self._recordings:
            recording.close()
        self._recordings.clear()

    def _script(self) -> Script:
        nodes = self._plan.nodes
        parts = pieces(self._dispatches, lambda dispatch: dispatch.part, self._resources.budget)
        results = [
            (self._spot(o.tensor.storage, o.start), place_spot(place), o.nbytes)
            for o, place in self._outputs.items()
            if o.nbytes
        ]
        config.note(
            3, f"record {len(nodes)} nodes, {len(self._dispatches)} dispatches, {self._plan.n_barriers} barriers"
        )
        config.note(3, f"  {len(parts)} submissions, {self._plan.arena.nbytes} bytes of temporaries")
        return Script(parts, self._plan.barriers, self._pipelines, self._spot, results, self._branches)

    def _spot(self, storage: Storage, offset: int = 0) -> Spot:
        if storage in self._temps:
            return place_spot(self._temps[storage], offset)
        if storage.kind is Kind.TEMP and (arena := self._resources.arena.place):
            return place_spot(arena, self._plan.arena.offsets[storage] + offset)
        return place_spot(self._resources.residents.place(storage), offset)

    def _own_temps(self) -> dict[Storage, Place]:
        """A buffer for the branches' grids; under validation one for each temporary, so that the layer sees every
        hazard."""
        temps = [self._branches.grids] if self._branches.rows else []
        temps += self._plan.storages(Kind.TEMP) if self._resources.validated else []
        places = self._resources.pools["temp"].take((s.name, packed_nbytes(s)) for s in temps)
        return dict(zip(temps, places, strict=True))

    def _take_outputs(self) -> dict[Output, Place]:
        outputs = outputs_of(self._plan)
        places = self._resources.pools["readback"].take((o.tensor.storage.name, o.nbytes) for o in outputs)
        return dict(zip(outputs, places, strict=True))
