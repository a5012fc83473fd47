"""What is parked in the host's memory: found to the token, within its limit, the least recently used gone first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.engine.chain import BLOCK, Beginning, extended, link, n_shared
from vkrun.runtime.engine.parked import NO_RINGS, OWN_NBYTES, Arrays, Parked, Rings

STATE = 1000


class Source:
    """Of each cache slot the tokens are its keys, and the state slot of a position holds that beginning."""

    def __init__(self, state_nbytes: int = 0, rings: Rings = NO_RINGS) -> None:
        self.row_nbytes, self.ring_nbytes, self.state_nbytes = 4, 3 if rings.n_rows else 0, state_nbytes
        self.rings = rings
        self.ids: list[int] = []
        self.n_rows = 0  # that were taken

    def take_keys(self, cache: int, start: int, stop: int) -> Arrays:
        assert cache == 3
        self.n_rows += stop - start
        return [np.array(self.ids[start:stop]).reshape(-1, 1)]

    def take_rings(self, cache: int, start: int, stop: int) -> Arrays:
        assert cache == 3 and len(self.ids) - self.rings.n_rows <= start < stop
        return [np.array(self.ids[start:stop]).reshape(-1, 1)]

    def take_state(self, state: int) -> Arrays:
        return [np.array(self.ids[:state])]

    def park(self, parked: Parked, ids: list[int], states: list[int]) -> None:
        self.ids = ids
        n_lost = max(0, len(ids) - self.rings.n_rows) if self.rings.n_rows else 0
        parked.park(3, Beginning(ids), {pos: pos for pos in states}, n_lost)


def check(parked: Parked, ids: list[int]) -> int:
    """What is found of ids is what was parked; how many tokens of it."""
    found = parked.find(Beginning(ids))
    if found.n_kept:
        (keys,) = found.keys(0, found.n_kept)
        assert keys[:, 0].tolist() == ids[: found.n_kept]
        (some,) = found.keys(found.n_kept // 2, found.n_kept)
        assert some[:, 0].tolist() == ids[found.n_kept // 2 : found.n_kept]
        if parked._source.ring_nbytes:
            first = max(0, found.n_kept + 1 - parked._source.rings.window)
            assert first - BLOCK < found.n_lost <= first
            (rows,) = found.ring_keys(found.n_lost, found.n_kept)
            assert rows[:, 0].tolist() == ids[found.n_lost : found.n_kept]
        assert found.state is None or found.state[0].tolist() == ids[: found.n_kept]
    return found.n_kept


def held(parked: Parked) -> int:
    size, states = 0, 0
    for b in parked._blocks.values():
        size += OWN_NBYTES + len(b.ids) * (parked._source.row_nbytes + 8)
        size += len(b.ids) * parked._source.ring_nbytes * (b.ring_keys is not None)
        states += len(b.states)
        assert b.parent is not None and b.parent.children[b.key] is b
        assert b.key == link(b.parent.key, b.ids) and b.first == b.parent.stop
        assert all(b.first < pos <= b.stop for pos in b.states)
    assert states == parked.n_states
    return size + states * parked._source.state_nbytes


def long(seed: int, n: int) -> list[int]:
    return [(seed * 7919 + i * i * 31 + i) % 997 for i in range(n)]


def test_a_chain_is_told_apart_by_any_token_before() -> None:
    ids = long(1, 400)
    whole = extended([], ids)
    assert len(whole) == 400 // BLOCK and extended(whole[:2], ids) == whole
    for at in (0, 63, 64, 200):
        other = list(ids)
        other[at] += 1
        made = Beginning(other)
        assert [a == b for a, b in zip(whole, made.chain, strict=True)] == [i < at // BLOCK for i in range(6)]
        assert made.n_shared(ids, whole) == at == n_shared(ids, other)


def test_the_longest_beginning_is_found_to_the_token() -> None:
    source = Source()
    parked = Parked(source, None)
    source.park(parked, long(1, 300), [])
    source.park(parked, [*long(1, 200), *long(2, 150)], [])
    assert source.n_rows == 300 + 350 - 192  # what begins alike is copied once
    assert check(parked, [*long(1, 200), *long(2, 99), 5000]) == 299
    assert check(parked, long(1, 300)) == 299 and check(parked, long(1, 250)) == 249
    assert check(parked, [*long(1, 10), 5000]) == 10 and check(parked, long(9, 10)) == 0
    source.park(parked, long(1, 310), [])
    assert check(parked, long(1, 400)) == 310 and parked.n_tokens == 192 + 158 + 118
    assert parked.nbytes == held(parked)


def test_states_are_found_at_their_positions_alone() -> None:
    source = Source(STATE)
    parked = Parked(source, None)
    source.park(parked, long(1, 300), [100, 250])
    assert source.n_rows == 250 == parked.n_tokens  # nothing goes on from the keys behind the last state
    assert [check(parked, long(1, n)) for n in (400, 251, 250, 101, 100)] == [250, 250, 100, 100, 0]
    source.park(parked, long(1, 270), [250, 270])
    assert [check(parked, long(1, n)) for n in (400, 270, 101)] == [270, 250, 100] and parked.n_states == 3
    assert parked.nbytes == held(parked)


@pytest.mark.parametrize("state", [0, STATE])
def test_the_least_recently_used_goes_first(state: int) -> None:
    source = Source(state)
    parked = Parked(source, 3 * (4 * OWN_NBYTES + 256 * 12 + state) + OWN_NBYTES)
    for i in range(3):
        source.park(parked, long(i, 256), [256])
    wanted = Beginning(long(0, 300))
    parked.use(parked.find(wanted))
    source.park(parked, long(5, 250), [250])
    found = [check(parked, long(i, 300)) for i in (0, 1, 2, 5)]
    assert found[0] == 256 and found[1] < 256 and found[2:] == [256, 250] and parked.n_evicted > 0
    assert parked.nbytes == held(parked) <= parked.limit


def test_what_was_found_stays_though_it_makes_way() -> None:
    source = Source(STATE)
    parked = Parked(source, 2 * OWN_NBYTES + 64 * 12 + STATE)
    source.park(parked, long(1, 64), [64])
    found = parked.find(Beginning(long(1, 70)))
    source.park(parked, long(2, 64), [64])
    assert parked.n_evicted == 1 and check(parked, long(1, 70)) == 0
    assert found.n_kept == 64 and found.state is not None and found.state[0].tolist() == long(1, 64)
    assert found.keys(0, 64)[0][:, 0].tolist() == long(1, 64)


def test_of_rings_so_many_keys_are_parked_as_they_hold() -> None:
    source = Source(rings=Rings(200, 100))
    parked, one = Parked(source, None), long(1, 400)
    source.park(parked, one, [])  # from 200 on, in blocks from 256 on
    assert [check(parked, [*one[:n], 998, 998]) for n in (400, 380, 356, 354, 100)] == [400, 380, 356, 0, 0]
    assert parked.nbytes == held(parked)
    source.park(parked, [*one[:300], *long(2, 150)], [])
    assert check(parked, [*one[:300], *long(2, 160)]) == 450 and check(parked, [*one, 998]) == 400
    short = long(3, 90)
    source.park(parked, short, [])  # of which nothing is lost
    assert [check(parked, [*short[:n], 998]) for n in (90, 50, 1)] == [90, 50, 1]
    assert parked.nbytes == held(parked)


def test_of_rings_all_is_parked_or_nothing() -> None:
    source = Source(rings=Rings(200, 100))
    parked, ids = Parked(source, 400 * 20 + 144 * 3 + OWN_NBYTES - 1), long(1, 400)
    source.park(parked, ids, [])
    assert check(parked, ids) == 0 and parked.nbytes == held(parked) == 0
    parked.limit += 1
    source.park(parked, ids, [])
    assert check(parked, ids) == 399 and parked.nbytes == held(parked) <= parked.limit


def test_what_is_larger_than_the_limit_is_parked_in_part_or_not_at_all() -> None:
    source = Source()
    parked = Parked(source, 5000)
    source.park(parked, long(1, 3000), [])
    assert 100 < check(parked, long(1, 3000)) < 400 and parked.nbytes <= 5000
    source = Source(STATE)
    parked = Parked(source, 9000)
    source.park(parked, long(1, 3000), [10, 3000])
    assert parked.nbytes == 0 == source.n_rows
    source.park(parked, long(1, 100), [10, 50, 80, 90, 92, 94, 96, 98, 99, 100])
    assert check(parked, long(1, 200)) == 100 and check(parked, long(1, 12)) == 0 and parked.nbytes <= 9000


parts = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 150)), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(parts, st.lists(st.integers(1, 500), max_size=3), st.booleans()), max_size=12),
    st.sampled_from([0, STATE]),
    st.one_of(st.none(), st.integers(0, 30_000)),
)
def test_random_trees(said: list, state: int, limit: int | None) -> None:
    source = Source(state)
    parked = Parked(source, limit)
    kept: list[tuple[list[int], list[int]]] = []
    for made, marks, parks in said:
        ids = [t for seed, n in made for t in long(seed, n)]
        states = sorted({min(m, len(ids)) for m in (*marks, len(ids))})
        if parks:
            source.park(parked, ids, states)
            kept.append((ids, states))
        else:
            parked.use(parked.find(Beginning(ids)))
        found = check(parked, ids)
        alike = [(min(n_shared(old, ids), len(ids) - 1), at) for old, at in kept]
        if state:
            alike = [(max((p for p in at if p <= n), default=0), at) for n, at in alike]
        best = max((n for n, _ in alike), default=0)
        assert found == best if limit is None else found <= best
        assert parked.nbytes == held(parked) and (limit is None or parked.nbytes <= limit)
    order = list(parked._blocks.values())
    places = {b.key: i for i, b in enumerate(order)}
    assert all(b.parent.key not in places or places[b.parent.key] > i for i, b in enumerate(order) if b.parent)
