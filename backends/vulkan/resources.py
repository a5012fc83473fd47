"""What a device's programs share: memory pools, places of storages, the arena, pipelines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...runtime import config
from ...runtime.errors import BackendError
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.kernel import Features
from ..packing import packed_nbytes
from ..replayed import Programs
from ..residents import Residents
from ..room import require_room
from ..work import budget
from .instance import instance
from .logical import Logical
from .memory import CACHED, COHERENT, DEVICE, VISIBLE, Place, Pool
from .physical import Limits, Physical
from .pipelines import Pipelines

_HOST = VISIBLE | COHERENT


class ArenaMemory:
    """The temporaries of whichever program runs: one block, as large as the largest plan wants.

    When it grows, `generation` does, and programs record themselves anew before they run again.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.place: Place | None = None
        self.generation = 0

    def require(self, nbytes: int) -> None:
        """Grow to at least so many bytes; nothing may be running. After a BackendError there is none at all."""
        if self.place is not None and self.place.nbytes >= nbytes:
            return
        if self.place is not None:
            self._pool.give([self.place])
        self.place = None
        self.generation += 1
        (self.place,) = self._pool.take([("temporaries", max(nbytes, 1))])


@dataclass(eq=False)
class Resources:
    """`residents` are weights, states and inputs; temporaries stand in `arena`, or one by one under validation."""

    logical: Logical
    features: Features
    limits: Limits
    pools: Mapping[str, Pool]
    pipelines: Pipelines
    arena: ArenaMemory
    validated: bool
    budget: float  # operations in one submission
    residents: Residents[Place]
    programs: Programs = field(default_factory=Programs)
    n_messages_seen: int = 0

    @staticmethod
    def open(physical: Physical, features: Features) -> "Resources":
        wanted, validated = config.read(), instance().validated
        logical = Logical(physical, robust=wanted.robust or validated)
        config.note(
            1, f"open {physical.name} ({physical.driver}), {physical.memory >> 20} MiB, {features}, {physical.limits}"
        )
        pools = _pools(logical, validated)
        return Resources(
            logical,
            features,
            physical.limits,
            pools,
            Pipelines(logical),
            ArenaMemory(pools["arena"]),
            validated,
            budget(physical.kind),
            Residents({kind: pools[_pool_of(kind)] for kind in Kind}),
        )

    def alloc(self, storages: Iterable[Storage]) -> None:
        """As residents.alloc()."""
        listed = list(dict.fromkeys(storages))
        self._check_room([s for s in listed if s not in self.residents])
        self.residents.alloc(listed)

    def _check_room(self, storages: list[Storage]) -> None:
        """Drivers of CPUs hand out memory that is not there."""
        physical = self.logical.physical
        if physical.kind == "cpu":
            free = physical.memory_free()
            sizes = ((s.name, packed_nbytes(s)) for s in storages)
            require_room(physical.name, sizes, physical.memory if free is None else free, physical.memory)

    def memory_used(self) -> dict[str, int]:
        """Bytes of device memory by what they hold."""
        return {name: pool.nbytes for name, pool in self.pools.items()}

    def check_validation(self) -> None:
        """BackendError with what the validation layer said since the last check; the messages stay listed."""
        new = instance().messages[self.n_messages_seen :]
        self.n_messages_seen += len(new)
        if new:
            raise BackendError(f"validation: {len(new)} messages, the first: {new[0]}")

    def close(self) -> None:
        """The caller has closed every program."""
        self.pipelines.close()
        for pool in self.pools.values():
            pool.close()
        self.residents.clear()
        self.logical.close()


def _pool_of(kind: Kind) -> str:
    return Kind.WEIGHT.value if kind is Kind.CONSTANT else kind.value


def _pools(logical: Logical, apart: bool) -> dict[str, Pool]:
    """Weights and states where the device is fastest; visible to the host too where that costs nothing and as far as it
    goes, since there are cards that say all of it is and give half."""
    seen = _device_memory_is_visible(logical.physical)
    local = [DEVICE | _HOST, DEVICE] if seen else [DEVICE, 0]
    return {
        "weight": Pool(logical, local, apart=apart, mapped=seen, spills=seen),
        "state": Pool(logical, local, apart=apart, mapped=seen, spills=seen),
        "input": Pool(logical, [DEVICE | _HOST, _HOST], apart=apart, spills=True),
        "temp": Pool(logical, [DEVICE, 0], apart=True, mapped=False),
        "arena": Pool(logical, [DEVICE, 0], apart=True, mapped=False),
        "readback": Pool(logical, [_HOST | CACHED, _HOST], apart=apart),
    }


def _device_memory_is_visible(physical: Physical) -> bool:
    """Whether all device memory is mapped: integrated devices, CPUs, and cards with a resizable BAR."""
    local = max((t.heap_nbytes for t in physical.memory_types if t.flags & DEVICE), default=0)
    seen = max(
        (t.heap_nbytes for t in physical.memory_types if t.flags & (DEVICE | _HOST) == DEVICE | _HOST), default=0
    )
    return 0 < local == seen and config.read().has("MAPPED_WEIGHTS")
