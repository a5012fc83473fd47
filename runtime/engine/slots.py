"""Slots: where the keys and states of sequences live on the device, and what earlier sequences left there."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UsageError
from ..models.architecture import Architecture
from .chain import BLOCK, Beginning, extended
from .parked import NO_RINGS, NOTHING, Found, Parked, Rings

WORTH_COPYING = 32  # tokens that are cheaper to copy from another cache than to read
WORTH_PARKING = 64  # tokens that are lost, for which a copy is made first


@dataclass(eq=False)
class Checkpoint:
    """A recurrent state as it was after the first `pos` tokens of the cache that holds the checkpoint. Until it is
    `filled` its state slot holds something else."""

    state: int  # its state slot
    pos: int
    used: int
    passing: bool = False  # one of many on the way, and the first to make room
    filled: bool = False


@dataclass(eq=False)
class CacheSlot:
    """The tokens whose keys and values a slot of the caches holds, and the checkpoints along them.

    rings: of layers with a window, where these hold the last rings.n_rows tokens alone; n_lost: the first tokens, over
    which a ring has written since.
    """

    index: int
    ids: list[int] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    used: int = 0
    taken: bool = False
    rings: Rings = NO_RINGS
    n_lost: int = 0
    _chain: list[bytes] = field(default_factory=list)

    def n_shared(self, wanted: Beginning) -> int:
        """How many tokens it begins with as wanted."""
        return wanted.n_shared(self.ids, extended(self._chain, self.ids))

    def n_kept(self, wanted: Beginning, has_states: bool) -> int:
        """How many of wanted, at most all but the last, need no work given this cache."""
        n = min(self.n_shared(wanted), len(wanted.ids) - 1)
        ends = [c.pos for c in self.checkpoints if c.pos <= n] if has_states else [n]
        return max(filter(self.holds, ends), default=0)

    def add(self, ids: Sequence[int]) -> None:
        """The keys and values of these tokens stand behind the others now."""
        self.ids += ids
        if self.rings.n_rows:
            self.n_lost = max(self.n_lost, len(self.ids) - self.rings.n_rows)

    def holds(self, n: int) -> bool:
        """May a sequence go on from the first n of the tokens? Only where rings hold all that the next one sees."""
        return n == 0 or self.rings.first_seen(n) >= self.n_lost

    def cut(self, n: int) -> list[int]:
        """Keep the first n tokens; the state slots of the checkpoints behind them."""
        gone = [c.state for c in self.checkpoints if c.pos > n]
        self.checkpoints = [c for c in self.checkpoints if c.pos <= n]
        self.n_lost = self.n_lost if n else 0
        del self.ids[n:]
        del self._chain[len(self.ids) // BLOCK :]
        return gone


@dataclass(eq=False)
class Seat:
    """The slots of a running sequence. The first n_kept tokens need no work once a state was brought to the state slot,
    and to the cache slot the keys that it lacks.

    The state comes from the slot `state_from`, the keys where it is not None from the cache slot `keys_from`; or both
    come of `parked`, of whose rows the first n_own stand here. n_shared of the tokens were read once.
    """

    cache: CacheSlot
    state: int  # -1 in a family without recurrent states
    n_kept: int
    n_shared: int
    state_from: int
    keys_from: int | None
    parked: Found = NOTHING
    n_own: int = 0


class Slots:
    """Gives caches and states to sequences. What a sequence leaves stays until its room is needed, what was used
    least recently first: its keys, which may be cut to any length, and checkpoints, to which alone a state may be cut.
    Before it goes it is parked, where there is a `parked` for it, and comes back from there.

    n_states: 0 in a family without recurrent states, else more than n_caches + 1: one for each running sequence,
    `origin`, which stays as a new sequence's state begins, and the checkpoints'. rings: see CacheSlot.
    """

    def __init__(self, n_caches: int, n_states: int, parked: Parked | None = None, rings: Rings = NO_RINGS) -> None:
        assert n_states == 0 or n_states > n_caches + 1
        self.caches = [CacheSlot(i, rings=rings) for i in range(n_caches)]
        self.origin = n_states - 1
        self.parked = parked
        self._free = list(range(n_states - 1))
        self._clock = 0

    @classmethod
    def of(cls, model: Architecture, parked: Parked | None = None) -> "Slots":
        """As many as its capacity says."""
        room, rings = model.capacity, Rings(model.n_window_rows, model.window if model.n_window_rows else 0)
        return cls(room.n_caches, room.n_states if model.states else 0, parked, rings)

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

    def claim(self, ids: Sequence[int], reuse: bool = True) -> Seat | None:
        """A seat for a sequence that begins with ids, of which the last is yet to be read; None where all are taken.
        reuse: may it go on from what others left?"""
        if not self.n_idle:
            return None
        wanted = Beginning(ids)
        seat = self._reusing(wanted) if reuse else self._seat(self._oldest(), 0)
        seat.cache.ids, seat.cache.taken = list(ids[: seat.n_kept]), True
        if seat.keys_from is not None:
            seat.cache.n_lost = self.caches[seat.keys_from].n_lost
        if seat.parked.n_kept:
            seat.cache.n_lost = seat.parked.n_lost
        return seat

    def release(self, seat: Seat, intact: bool = True) -> None:
        """Give a seat back. Its state becomes a checkpoint at the end of the cache's tokens; what is not `intact` is
        forgotten."""
        cache, pos = seat.cache, len(seat.cache.ids)
        cache.taken, cache.used = False, self._now()
        if not intact:
            self._free += cache.cut(0)
        if intact and self.has_states and pos and pos not in (c.pos for c in cache.checkpoints):
            cache.checkpoints.append(Checkpoint(seat.state, pos, cache.used, filled=True))
        elif self.has_states:
            self._free.append(seat.state)

    def keep(self, cache: CacheSlot, pos: int, passing: bool = False) -> Checkpoint | None:
        """A checkpoint of a cache at a position, which the caller fills; None where one stands or there is no room."""
        if not self.has_states or pos in (c.pos for c in cache.checkpoints):
            return None
        state = self._take_state()
        if state is None:
            return None
        cache.checkpoints.append(Checkpoint(state, pos, self._now(), passing))
        return cache.checkpoints[-1]

    def drop(self, cache: CacheSlot, pos: int) -> None:
        """Forget the checkpoint of a cache at a position, if there is one."""
        self._free += [c.state for c in cache.checkpoints if c.pos == pos]
        cache.checkpoints = [c for c in cache.checkpoints if c.pos != pos]

    def empty(self, cache: CacheSlot) -> None:
        """Forget what an idle cache holds, which is parked before."""
        assert not cache.taken
        self._lose(cache, 0)

    def forget(self, cache: CacheSlot) -> None:
        """Forget what an idle cache holds."""
        assert not cache.taken
        self._free += cache.cut(0)

    def hold(self, cache: CacheSlot, ids: Sequence[int], n_lost: int = 0) -> None:
        """Tokens whose keys were brought to an empty cache, to rings but for those of the first n_lost, as were the
        states of the checkpoints that it has now."""
        assert not cache.ids
        cache.ids, cache.n_lost, cache.used = list(ids), n_lost, self._now()
        for c in cache.checkpoints:
            c.filled = True

    def oldest(self) -> CacheSlot:
        """The idle cache that was used least recently; UsageError where all are taken."""
        if not self.n_idle:
            raise UsageError(f"slots: sequences run in all {len(self.caches)}")
        return self._oldest()

    def latest(self) -> CacheSlot:
        """The cache that is in use, or else was last."""
        return max(self.caches, key=lambda c: (c.taken, bool(c.ids), c.used))

    # seats

    def _reusing(self, wanted: Beginning) -> Seat:
        best = max(self.caches, key=lambda c: (c.n_kept(wanted, self.has_states), not c.taken))
        kept, shared = best.n_kept(wanted, self.has_states), best.n_shared(wanted)
        found = self.parked.find(wanted) if self.parked else NOTHING
        home = self._home(best, kept, shared)
        if home is not best and kept < WORTH_COPYING:
            kept = 0
        if self.parked and found.n_kept >= max(kept + WORTH_COPYING, 1):
            self.parked.use(found)
            n_own = min(home.n_shared(wanted), found.n_kept)
            return self._seat(home, found.n_kept, max(shared, found.n_shared), n_own=n_own, parked=found)
        source = next((c for c in best.checkpoints if kept and c.pos == kept), None)
        if source:
            source.used, source.passing = self._now(), False
        n_own, keys_from = (kept, None) if home is best else (0, best.index if kept else None)
        return self._seat(home, kept, max(shared, found.n_shared), source, n_own, keys_from)

    def _seat(
        self,
        home: CacheSlot,
        kept: int,
        shared: int = 0,
        source: Checkpoint | None = None,
        n_own: int = 0,
        keys_from: int | None = None,
        parked: Found = NOTHING,
    ) -> Seat:
        self._lose(home, n_own)
        state = self._take_state() if self.has_states else -1
        assert state is not None
        return Seat(home, state, kept, shared, source.state if source else self.origin, keys_from, parked, n_own)

    def _home(self, best: CacheSlot, kept: int, shared: int) -> CacheSlot:
        """The idle cache to live in: `best` where most of it is shared, unless it would lose much and another one is
        empty; else the least recently used one."""
        oldest, n = self._oldest(), len(best.ids)
        forks = not oldest.ids and kept >= WORTH_COPYING and n - kept >= WORTH_PARKING
        return oldest if best.taken or 2 * shared < n or forks else best

    def _oldest(self) -> CacheSlot:
        return min((c for c in self.caches if not c.taken), key=lambda c: (bool(c.ids), c.used))

    def _lose(self, cache: CacheSlot, n: int) -> None:
        """Cut a cache to its first n tokens."""
        if self.parked and len(cache.ids) - n >= WORTH_PARKING:
            held = {c.pos: c.state for c in cache.checkpoints if c.filled and not c.passing}
            self.parked.park(cache.index, Beginning(cache.ids), held, cache.n_lost)
        self._free += cache.cut(n)

    # states

    def _take_state(self) -> int | None:
        """A free state slot, or that of the least recently used checkpoint, passing ones first."""
        if self._free:
            return self._free.pop()
        held = [(c, cache) for cache in self.caches for c in cache.checkpoints]
        if not held:
            return None
        oldest, cache = min(held, key=lambda h: (not h[0].passing, h[0].used))
        if self.parked and oldest.filled and not oldest.passing:
            own = Beginning(cache.ids[: oldest.pos])
            self.parked.park(cache.index, own, {oldest.pos: oldest.state}, cache.n_lost)
        cache.checkpoints.remove(oldest)
        return oldest.state

    def _now(self) -> int:
        self._clock += 1
        return self._clock
