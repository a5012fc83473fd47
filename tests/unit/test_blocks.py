"""Places in blocks of device memory, and which storage has which, on blocks of nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from vkrun.backends.blocks import BLOCK_MAX, BLOCK_MIN, BlockPool, PlaceIn, block_sizes
from vkrun.backends.residents import Residents
from vkrun.backends.room import no_room, require_room
from vkrun.backends.runs import Runs
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.arena import ALIGNMENT
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.tensor import Kind, Storage

MIB = 1 << 20


@dataclass(eq=False)
class Block:
    runs: Runs


class Pool(BlockPool[Block, PlaceIn[Block]]):
    def __init__(self, room: int, apart: bool = False) -> None:
        super().__init__(PlaceIn, apart)
        self.room = room

    def _new_block(self, name: str, nbytes: int, ahead: Sequence[int]) -> Block:
        size = next((n for n in block_sizes(ahead) if n <= self.room), None)
        if size is None:
            raise no_room("some device", name, nbytes, sum(ahead), self.room)
        self.room -= size
        return Block(Runs(size))

    def _destroy(self, block: Block) -> None:
        self.room += block.runs.nbytes


def test_what_is_wanted_together_shares_a_block() -> None:
    pool = Pool(8 * MIB)
    a, b, c = pool.take([("a", 10), ("b", MIB), ("c", 3 * MIB)])
    assert a.block is b.block is c.block and (a.offset, b.offset) == (0, ALIGNMENT)
    assert pool.nbytes == 4 * MIB + ALIGNMENT
    pool.give([b])
    (again,) = pool.take([("again", MIB)])
    assert (again.block, again.offset) == (b.block, b.offset)
    pool.give([a, again, c])
    assert pool.nbytes == 0 and pool.room == 8 * MIB


def test_all_or_none() -> None:
    pool = Pool(3 * MIB)
    (kept,) = pool.take([("kept", 10)])
    with pytest.raises(
        BackendError, match=r"^some device: out of memory for large: 4\.0 MiB wanted .*, 1\.0 MiB free$"
    ):
        pool.take([("small", MIB), ("large", 4 * MIB)])
    assert pool.nbytes == BLOCK_MIN and kept.block.runs.free == [(ALIGNMENT, BLOCK_MIN)]


def test_apart_each_has_a_block_and_the_last_closes_them() -> None:
    pool = Pool(8 * MIB, apart=True)
    a, b = pool.take([("a", 10), ("b", 10)])
    assert a.block is not b.block
    pool.close()
    assert pool.room == 8 * MIB


def test_residents_keep_their_places_and_come_all_or_none() -> None:
    w, s = Storage("w", Kind.WEIGHT, DType.F32, (4,)), Storage("s", Kind.STATE, DType.F32, (1 << 20,))
    weights, states = Pool(8 * MIB), Pool(MIB)
    residents: Residents[PlaceIn[Block]] = Residents({kind: states if kind is Kind.STATE else weights for kind in Kind})
    with pytest.raises(BackendError, match="out of memory for s"):
        residents.alloc([w, s])
    assert list(residents) == [] and weights.nbytes == 0
    states.room = 8 * MIB
    residents.alloc([w, s])
    place = residents.place(w)
    residents.alloc([w])
    assert residents.place(w) is place
    residents.free([w, w])
    with pytest.raises(BackendError, match=r"^w: weight without memory on this device; alloc\(\) it first$"):
        residents.place(w)
    with pytest.raises(BackendError, match="t: a temporary has no memory of its own"):
        residents.alloc([Storage("t", Kind.TEMP, DType.F32, (4,))])


def test_room_is_asked_for_all_together_and_the_largest_is_named() -> None:
    require_room("some device", [("a", MIB), ("b", 2 * MIB)], 3 * MIB)
    with pytest.raises(BackendError, match=r"out of memory for b: 2\.0 MiB wanted \(3\.0 MiB with .*\), 2\.0 MiB free"):
        require_room("some device", [("a", MIB), ("b", 2 * MIB)], 2 * MIB, 4 * MIB)


def test_a_block_holds_exactly_what_fits_of_what_is_ahead() -> None:
    assert block_sizes([302 * MIB] * 9) == (906 * MIB, 302 * MIB)
    assert block_sizes([302 * MIB, 8 * MIB]) == (310 * MIB, 302 * MIB)
    assert block_sizes([MIB] * 5000) == (BLOCK_MAX, MIB)


def test_what_is_larger_than_a_block_has_one_of_its_own() -> None:
    assert block_sizes([3 * BLOCK_MAX, MIB]) == (3 * BLOCK_MAX,)


def test_little_has_room_for_more() -> None:
    assert block_sizes([256]) == (BLOCK_MIN, 256)


def test_a_devices_own_limit_holds() -> None:
    assert block_sizes([100 * MIB] * 9, 256 * MIB) == (200 * MIB, 100 * MIB)
    assert block_sizes([256], MIB // 2) == (MIB // 2, 256)
