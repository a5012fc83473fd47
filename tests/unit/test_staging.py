"""backends/staging.py: slots are filled by many threads at once, and reused once the device has copied from them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, RLock

import pytest
from vkrun.backends.staging import N_IDLE, Ring


def ring() -> tuple[Ring[list[str]], RLock]:
    lock = RLock()
    return Ring(list, lambda slot: slot.append("finished"), lambda: lock), lock


def test_one_thread_takes_few_slots_in_turn_and_waits_for_each() -> None:
    made, _ = ring()
    order = []
    for _ in range(3 * N_IDLE):
        with made.taken() as slot:
            order.append(id(slot))
    assert len(made.slots) == N_IDLE and order == order[:N_IDLE] * 3
    assert made.slots == [["finished"] * 2] * N_IDLE


def test_threads_fill_side_by_side() -> None:
    """All of them hold a slot at the same moment, else the barrier would never open."""
    made, _ = ring()
    together = Barrier(6, timeout=20)

    def fill(_: int) -> int:
        with made.taken() as slot:
            together.wait()
            return id(slot)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(fill, range(6)))) == 6
    with made.taken():
        assert len(made.slots) == 6


def test_a_slot_comes_back_when_filling_it_fails() -> None:
    made, lock = ring()
    for _ in range(2 * N_IDLE):
        with pytest.raises(OSError, match="gone"), made.taken():
            raise OSError("gone")
    assert len(made.slots) == N_IDLE and lock.acquire(blocking=False)
