"""Where storages stand: a few blocks shared by many, since kp binds whole buffers and makes a pipeline a binding."""

from collections.abc import Callable, Iterable

from ...runtime.errors import BackendError
from ...runtime.ir.arena import ALIGNMENT
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ..blocks import PlaceIn
from ..packing import packed_nbytes
from .api import BLOCK_NBYTES, Block

Place = PlaceIn[Block]  # a storage's memory
Places = dict[Storage, Place]
MakeBlock = Callable[[int], Block]


def place(storages: Iterable[Storage], make: MakeBlock, limit: int) -> Places:
    """One after the other, in as few blocks of at most `limit` bytes as they fit in, larger ones in blocks of their
    own; the blocks made so far are given back on failure."""
    made: list[Block] = []
    places: Places = {}
    try:
        for group, nbytes in _groups(storages, limit):
            made.append(make(nbytes))
            places.update((s, Place(made[-1], at, packed_nbytes(s))) for s, at in group)
    except BackendError:
        for block in made:
            block.close()
        raise
    return places


def place_temps(plan: Plan, make: MakeBlock, make_host: MakeBlock, limit: int) -> Places:
    """A plan's temporaries: outputs where the host can read them, the others in the arena that the plan laid out.

    An arena over the limit is given up: every temporary then has memory of its own.
    """
    read = {t.storage for t in plan.graph.outputs.values() if t.storage.kind is Kind.TEMP}
    rest = [s for s in dict.fromkeys((*plan.arena.offsets, *plan.storages(Kind.TEMP))) if s not in read]
    places = place(read, make_host, limit)
    if plan.arena.nbytes > limit:
        return places | place(rest, make, limit)
    arena = make(plan.arena.nbytes) if rest else None
    return places | {s: Place(arena, plan.arena.offsets[s], packed_nbytes(s)) for s in rest if arena}


def _groups(storages: Iterable[Storage], limit: int) -> list[tuple[list[tuple[Storage, int]], int]]:
    """Per block its storages with their byte offsets, and its bytes."""
    groups: list[tuple[list[tuple[Storage, int]], int]] = []
    for s in storages:
        n = packed_nbytes(s)
        if n > BLOCK_NBYTES:
            raise BackendError(f"{s.name}: {n} bytes, but kompute binds at most {BLOCK_NBYTES}; take --backend vulkan")
        members, end = groups.pop() if groups else ([], 0)
        at = -(-end // ALIGNMENT) * ALIGNMENT
        if members and at + n > limit:
            groups.append((members, end))
            members, at = [], 0
        groups.append(([*members, (s, at)], at + n))
    return groups
