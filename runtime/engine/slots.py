"""Slots: where the keys and states of sequences live on the device, and what earlier sequences left there."""

from collections.abc import Sequence
from dataclasses import dataclass, field

WORTH_COPYING = 32  # tokens that are cheaper to copy from another cache than to read


@dataclass(eq=False)
class Checkpoint:
    """A recurrent state as it was after the first `pos` tokens of the cache that holds the checkpoint."""

    state: int  # its state slot
    pos: int
    used: int
    passing: bool = False  # one of many on the way, and the first to make room


@dataclass(eq=False)
class CacheSlot:
    """The tokens whose keys and values a slot of the caches holds, and the checkpoints along them."""

    index: int
    ids: list[int] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    used: int = 0
    taken: bool = False


@dataclass(eq=False)
class Seat:
    """The slots of a running sequence. The first n_kept tokens need no work once the state slot `state_from` and, where
    it is not None, the keys of the cache slot `keys_from` were copied; n_shared stood in a cache already."""

    cache: CacheSlot
    state: int  # -1 in a family without recurrent states
    n_kept: int
    n_shared: int
    state_from: int
    keys_from: int | None


class Slots:
    """Gives caches and states to sequences. What a sequence leaves stays until its room is needed, what was used
    least recently first: its keys, which may be cut to any length, and checkpoints, to which alone a state may be cut.

    n_states: 0 in a family without recurrent states, else more than n_caches + 1: one for each running sequence,
    `origin`, which stays as a new sequence's state begins, and the checkpoints'.
    """

    def __init__(self, n_caches: int, n_states: int) -> None:
        assert n_states == 0 or n_states > n_caches + 1
        self.caches = [CacheSlot(i) for i in range(n_caches)]
        self.origin = n_states - 1
        self._free = list(range(n_states - 1))
        self._clock = 0

    @property
    def has_states(self) -> bool:
        return self.origin >= 0

    @property
    def n_checkpoints(self) -> int:
        """How many there may be while every cache is taken."""
        return max(0, self.origin - len(self.caches))

    @property
    def n_idle(self) -> int:
        return sum(not c.taken for c in self.caches)

    def claim(self, ids: Sequence[int]) -> Seat | None:
        """A seat for a sequence that begins with ids, of which the last is yet to be read; None where all are taken."""
        if not self.n_idle:
            return None
        best = max(self.caches, key=lambda c: (self._n_kept(c, ids), not c.taken))
        kept, shared, home = self._n_kept(best, ids), n_shared(best.ids, ids), self._home(best, ids)
        copied = home is not best and kept >= WORTH_COPYING
        kept = kept if home is best or copied else 0
        source = next((c for c in best.checkpoints if kept and c.pos == kept), None)
        if source:
            source.used = self._now()
        self._cut(home, kept if home is best else 0)
        home.ids, home.taken = list(ids[:kept]), True
        state = self._take_state() if self.has_states else -1
        assert state is not None
        state_from = source.state if source else self.origin
        return Seat(home, state, kept, shared, state_from, best.index if copied else None)

    def release(self, seat: Seat, intact: bool = True) -> None:
        """Give a seat back. Its state becomes a checkpoint at the end of the cache's tokens; what is not `intact` is
        forgotten."""
        cache, pos = seat.cache, len(seat.cache.ids)
        cache.taken, cache.used = False, self._now()
        if not intact:
            self._cut(cache, 0)
        if intact and self.has_states and pos and pos not in (c.pos for c in cache.checkpoints):
            cache.checkpoints.append(Checkpoint(seat.state, pos, cache.used))
        elif self.has_states:
            self._free.append(seat.state)

    def keep(self, seat: Seat, pos: int, passing: bool = False) -> Checkpoint | None:
        """A checkpoint of a seat at a position, which the caller fills; None where one stands or there is no room."""
        if not self.has_states or pos in (c.pos for c in seat.cache.checkpoints):
            return None
        state = self._take_state()
        if state is None:
            return None
        seat.cache.checkpoints.append(Checkpoint(state, pos, self._now(), passing))
        return seat.cache.checkpoints[-1]

    def _n_kept(self, cache: CacheSlot, ids: Sequence[int]) -> int:
        """How many of ids, at most all but the last, need no work given this cache."""
        n = n_shared(cache.ids, ids[:-1])
        return max((c.pos for c in cache.checkpoints if c.pos <= n), default=0) if self.has_states else n

    def _home(self, best: CacheSlot, ids: Sequence[int]) -> CacheSlot:
        """The idle cache to live in: `best` where most of it is shared, else the least recently used one."""
        if not best.taken and 2 * n_shared(best.ids, ids) >= len(best.ids):
            return best
        return min((c for c in self.caches if not c.taken), key=lambda c: (bool(c.ids), c.used))

    def _cut(self, cache: CacheSlot, n: int) -> None:
        self._free += [c.state for c in cache.checkpoints if c.pos > n]
        cache.checkpoints = [c for c in cache.checkpoints if c.pos <= n]
        del cache.ids[n:]

    def _take_state(self) -> int | None:
        """A free state slot, or that of the least recently used checkpoint, passing ones first."""
        if self._free:
            return self._free.pop()
        held = [(c, cache) for cache in self.caches for c in cache.checkpoints]
        if not held:
            return None
        oldest, cache = min(held, key=lambda h: (not h[0].passing, h[0].used))
        cache.checkpoints.remove(oldest)
        return oldest.state

    def _now(self) -> int:
        self._clock += 1
        return self._clock


def n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    n, stop, size = 0, min(len(a), len(b)), 1024
    while n < stop and a[n : n + size] == b[n : n + size]:
        n += size
    return next((i for i in range(n, min(stop, n + size)) if a[i] != b[i]), stop)
