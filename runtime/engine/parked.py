"""Parked: keys and states that sequences left, in memory of the host: a tree of blocks of tokens, found by hash.

What begins alike is held once, and parking a conversation again copies what is new of it. What was used least recently
goes first: of a family with recurrent states its states, and with each the blocks that lead to no other; else blocks
that none follows.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from .chain import BLOCK, ROOT, Beginning, link, n_alike, n_shared
from .worth import Worth

Arrays = list[np.ndarray]  # one for each storage
PIECE = 32 * BLOCK  # tokens whose keys are under way between host and device
OWN_NBYTES = 512  # of a block, beside its arrays and 8 a token


def pieces(first: int, stop: int) -> list[tuple[int, int]]:
    """[first, stop) in runs that are short enough."""
    return [(at, min(at + PIECE, stop)) for at in range(first, stop, PIECE)]


@dataclass(frozen=True)
class Rings:
    """Caches of layers with a window: rows of a sequence, 0 where they hold all tokens, and keys that a token sees."""

    n_rows: int = 0
    window: int = 0

    def first_seen(self, n: int) -> int:
        """The first token that the one behind n others sees; 0 without rings."""
        return max(0, n + 1 - self.window) if self.n_rows else 0


NO_RINGS = Rings()


class Source(Protocol):
    """Where the bytes come from: a runner."""

    row_nbytes: int  # of a token's keys and values, but for those in rings
    ring_nbytes: int  # of a token's in rings, 0 without any
    state_nbytes: int  # 0 in a family without recurrent states
    rings: Rings

    def take_keys(self, cache: int, start: int, stop: int) -> Arrays: ...

    def take_rings(self, cache: int, start: int, stop: int) -> Arrays: ...

    def take_state(self, state: int) -> Arrays: ...


@dataclass(eq=False)
class Block:
    """The keys of at most BLOCK tokens, from position `first` on, and states at positions in (first, stop].

    ring_keys: those of layers with a window, None where rings had lost some of them.
    """

    key: bytes
    parent: "Block | None"
    first: int
    ids: list[int]
    keys: Arrays
    ring_keys: Arrays | None = None
    states: dict[int, Arrays] = field(default_factory=dict)
    children: "dict[bytes, Block]" = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.first + len(self.ids)


@dataclass(frozen=True)
class Found:
    """Of a prompt its first n_shared tokens are parked, and the first n_kept need no work. n_lost: so many of
    the first ones no token after those sees in a layer with a window."""

    blocks: Sequence[Block]
    n_shared: int
    n_kept: int
    n_lost: int = 0
    state: Arrays | None = None  # after n_kept tokens, wherever it is parked by the time it is read

    def keys(self, start: int, stop: int) -> Arrays:
        """Rows [start, stop) of each cache that is no ring."""
        return _rows([(b.first, b.keys) for b in self._over(start, stop)], start, stop)

    def ring_keys(self, start: int, stop: int) -> Arrays:
        """Rows of tokens [start, stop), of the last n_kept - n_lost, of each ring."""
        return _rows([(b.first, b.ring_keys or []) for b in self._over(start, stop)], start, stop)

    def _over(self, start: int, stop: int) -> Iterator[Block]:
        return (b for b in self.blocks if b.stop > start and b.first < stop)


NOTHING = Found((), 0, 0)


def _rows(blocks: Sequence[tuple[int, Arrays]], start: int, stop: int) -> Arrays:
    parts = [[a[max(0, start - first) : stop - first] for a in arrays] for first, arrays in blocks]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


class Parked:
    """`limit`: bytes of the host, None for no limit. `nbytes`, `n_evicted`: how many are held, blocks and states that
    had to go."""

    def __init__(self, source: Source, limit: int | None) -> None:
        self._source, self.limit, self.worth = source, limit, Worth()
        self.nbytes = self.n_evicted = 0
        self._root = Block(ROOT, None, 0, [], [])
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()  # a parent after its children: first is who goes first
        self._states: OrderedDict[tuple[bytes, int], None] = OrderedDict()

    @property
    def n_tokens(self) -> int:
        return sum(len(b.ids) for b in self._blocks.values())

    @property
    def n_states(self) -> int:
        return len(self._states)

    def find(self, wanted: Beginning) -> Found:
        """The longest beginning of a prompt, all but its last token at most, that is parked."""
        whole, tails = self._shared(wanted)
        shared, most = len(whole) * BLOCK + max(tails.values(), default=0), len(wanted.ids) - 1
        if not self._has_states:
            path = [*whole, *_longest(tails)]
            return self._found(path, shared, self._farthest(path, min(shared, most)))
        for n in range(len(whole), -1, -1):
            ends = dict(self._states_at(whole[:n], wanted.ids[n * BLOCK : (n + 1) * BLOCK], most))
            if ends:
                return self._found([*whole[:n], ends[max(ends)]], shared, max(ends))
        return Found((), shared, 0)

    def _found(self, path: Sequence[Block], shared: int, kept: int) -> Found:
        state = next((b.states[kept] for b in path if kept in b.states), None)
        rings = self._source.rings
        first = rings.first_seen(kept)
        whole = first // BLOCK * BLOCK  # so that the block can be parked once more
        n_lost = whole if kept - whole <= rings.n_rows else first
        return Found(path if kept else (), shared, kept, n_lost, state)

    def _farthest(self, path: Sequence[Block], most: int) -> int:
        """How many of the first `most` tokens a prompt can go on from."""
        ends = (min(b.stop, most) for b in reversed(path) if b.first < most)
        return next((n for n in ends if self._sees_all(path, n)), 0)

    def _sees_all(self, path: Sequence[Block], n: int) -> bool:
        """Is there of rings all that the token behind the first n sees?"""
        first = self._source.rings.first_seen(n)
        return not self._source.ring_nbytes or all(b.ring_keys for b in path if b.stop > first and b.first < n)

    def _states_at(self, path: Sequence[Block], rest: Sequence[int], most: int) -> Iterator[tuple[int, Block]]:
        """States that a beginning can go on from in the blocks behind a path, of which any may share them."""
        for b in self._behind(path):
            if b.states:
                stop = min(b.first + n_shared(b.ids, rest), most)
                yield from ((pos, b) for pos in b.states if pos <= stop and self._sees_all([*path, b], pos))

    def use(self, found: Found) -> None:
        """To be told what was restored, which then goes last."""
        self._touch(found.blocks)
        self._use_state(found.blocks, found.n_kept)

    def park(self, cache: int, own: Beginning, states: Mapping[int, int], n_lost: int = 0) -> None:
        """Keep what a cache slot holds, and of a family with recurrent states the state slots at some positions of it:
        as much as there is room for and is worth it. n_lost: the first tokens, which rings hold no more."""
        ends = self._worth_it(own, states if self._has_states else [len(own.ids)])
        stop, states = max(ends, default=0), {pos: state for pos, state in states.items() if pos in ends}
        if not stop:
            return
        own = own if stop == len(own.ids) else Beginning(own.ids[:stop])
        path, have = self._path(own)
        self._touch(path)
        whole = [b for b in path if b.stop <= have or have == stop]  # those that stay as they are, or are merged
        held = {pos for b in whole for pos in b.states if pos <= have}
        new = sorted(pos for pos in states if pos not in held) if self._has_states else []
        first = stop if have == stop else _first_new(path, have)
        stop, new = self._room(whole, first, stop, new, n_lost)
        if stop <= have and not new:
            return
        blocks = self._grow(cache, own, path, have, stop, n_lost) if have < stop else path
        for pos in new:
            block = next(b for b in blocks if b.first < pos <= b.stop)
            state = self.worth.timed(self._source.state_nbytes, partial(self._source.take_state, states[pos]))
            self._add_state(block, pos, state)
        self._use_state(blocks, stop)

    def clear(self) -> None:
        self._blocks.clear()
        self._states.clear()
        self._root.children.clear()
        self.nbytes = 0

    @property
    def _has_states(self) -> bool:
        return self._source.state_nbytes > 0

    def _path(self, wanted: Beginning) -> tuple[list[Block], int]:
        """The blocks that share a beginning, and how many tokens of it; of the last one perhaps a part."""
        whole, tails = self._shared(wanted)
        return [*whole, *_longest(tails)], len(whole) * BLOCK + max(tails.values(), default=0)

    def _shared(self, wanted: Beginning) -> tuple[list[Block], dict[Block, int]]:
        """The blocks that are shared as a whole, and those behind them that begin as wanted goes on, and with how many
        tokens."""
        n = n_alike(len(wanted.chain), lambda i: wanted.chain[i] not in self._blocks)
        whole = [self._blocks[key] for key in wanted.chain[:n]]
        rest = wanted.ids[n * BLOCK : (n + 1) * BLOCK]
        return whole, {b: k for b in self._behind(whole) if (k := n_shared(b.ids, rest))}

    def _behind(self, path: Sequence[Block]) -> Iterable[Block]:
        return (path[-1] if path else self._root).children.values()

    # what is added

    def _worth_it(self, own: Beginning, ends: Iterable[int]) -> list[int]:
        """Of positions from which one can go on those that are parked, or are reached by reading only after longer than
        it takes to copy what is missing."""
        path, have = self._path(own)
        held = {pos for b in path for pos in b.states if pos <= have} if self._has_states else {have}
        worth: list[int] = []
        for end in sorted(ends):
            before = max((pos for pos in (*held, *worth) if pos < end), default=0)
            missing = max(0, end - max(before, have)) * (self._source.row_nbytes + self._source.ring_nbytes)
            if end in held or self.worth.is_worth(end - before, missing + self._source.state_nbytes):
                worth.append(end)
        return worth

    def _room(self, keep: Sequence[Block], first: int, stop: int, new: list[int], n_lost: int) -> tuple[int, list[int]]:
        """How far to park from `first` on, and which states: what there is room for besides blocks to keep; 0 for
        nothing."""
        if self.limit is None:
            return stop, new
        each, state = self._source.row_nbytes + 8 + OWN_NBYTES // BLOCK, self._source.state_nbytes
        in_rings = max(0, stop - max(first, _whole_from(n_lost))) * self._source.ring_nbytes
        room = self.limit - sum(map(self._size, keep)) - OWN_NBYTES - in_rings  # beside a block that is not full
        if self._has_states:
            room -= (stop - first) * each
            n = min(len(new), room // state)
            if room < 0 or n < min(1, len(new)):
                return 0, []
            new = new[len(new) - n :]
        elif self._source.ring_nbytes:  # the last tokens are those without which the others are of no use
            stop = stop if room >= (stop - first) * each else 0
        else:
            stop = min(stop, first + max(0, room) // each)
        if stop > first or new:
            self._evict(self.limit - OWN_NBYTES - in_rings - (stop - first) * each - len(new) * state, keep)
        return stop, new

    def _grow(self, cache: int, own: Beginning, path: list[Block], have: int, stop: int, n_lost: int) -> list[Block]:
        """The blocks of own's first `stop` tokens, of which the path holds the first `have`."""
        first = _first_new(path, have)
        short = path.pop() if first < have else None
        for start, end in pieces(first, stop):
            nbytes, ringed = (end - start) * self._source.row_nbytes, max(start, _whole_from(n_lost))
            keys = self.worth.timed(nbytes, partial(self._source.take_keys, cache, start, end))
            ring_keys = self._source.take_rings(cache, ringed, end) if self._source.ring_nbytes and ringed < end else []
            for at in range(start, end, BLOCK):
                ids = list(own.ids[at : min(at + BLOCK, end)])
                parent = path[-1] if path else self._root
                rows = [a[at - start : at - start + len(ids)].copy() for a in keys]
                of_rings = [a[at - ringed : at - ringed + len(ids)].copy() for a in ring_keys if at >= ringed]
                path.append(self._add(Block(link(parent.key, ids), parent, at, ids, rows, of_rings or None)))
        if short and short.key in self._blocks:
            self._merge(short, next(b for b in path if b.first == short.first))
        self._touch(path)
        return path

    def _add(self, block: Block) -> Block:
        assert block.parent is not None
        self._blocks[block.key] = block.parent.children[block.key] = block
        self.nbytes += self._size(block)
        return block

    def _add_state(self, block: Block, pos: int, state: Arrays) -> None:
        block.states[pos] = state
        self._states[block.key, pos] = None
        self.nbytes += self._source.state_nbytes

    def _merge(self, short: Block, whole: Block) -> None:
        """A block whose tokens another one begins with goes; its states are the other's."""
        if whole.ids[: len(short.ids)] != short.ids:
            return
        states = dict(short.states)
        self._remove(short)
        for pos, state in states.items():
            self._add_state(whole, pos, state)

    # what goes

    def _use_state(self, path: Sequence[Block], pos: int) -> None:
        for b in path:
            if (b.key, pos) in self._states:
                self._states.move_to_end((b.key, pos))

    def _touch(self, path: Sequence[Block]) -> None:
        for b in reversed(path):
            if b.key in self._blocks:
                self._blocks.move_to_end(b.key)

    def _evict(self, most: int, keep: Sequence[Block]) -> None:
        """Let go until at most so many bytes are held, but for what is to be kept."""
        kept = {b.key for b in keep}
        if self._has_states:
            for key, pos in [s for s in self._states if s[0] not in kept]:
                if self.nbytes <= most:
                    return
                self._drop_state(key, pos, kept)
            return
        for block in [b for b in self._blocks.values() if b.key not in kept]:
            if self.nbytes <= most:
                return
            self._remove(block)
            self.n_evicted += 1

    def _drop_state(self, key: bytes, pos: int, kept: set[bytes]) -> None:
        block = self._blocks[key]
        del block.states[pos], self._states[key, pos]
        self.nbytes -= self._source.state_nbytes
        self.n_evicted += 1
        while block.parent and not block.states and not block.children and block.key not in kept:
            self._remove(block)
            block = block.parent

    def _remove(self, block: Block) -> None:
        """A block that none follows, and its states."""
        assert block.parent is not None and not block.children
        for pos in block.states:
            del self._states[block.key, pos]
        self.nbytes -= self._size(block)
        del self._blocks[block.key], block.parent.children[block.key]

    def _size(self, block: Block) -> int:
        each = self._source.row_nbytes + 8 + (self._source.ring_nbytes if block.ring_keys else 0)
        return OWN_NBYTES + len(block.ids) * each + len(block.states) * self._source.state_nbytes


def _longest(tails: Mapping[Block, int]) -> list[Block]:
    return [max(tails, key=lambda b: tails[b])] if tails else []


def _whole_from(n_lost: int) -> int:
    """Where the first block begins of which rings have lost nothing."""
    return -(-n_lost // BLOCK) * BLOCK


def _first_new(path: Sequence[Block], have: int) -> int:
    """Where new blocks begin: behind the whole ones; one that is shared in part, or not full, is made anew."""
    last = path[-1] if path else None
    return last.first if last and (have < last.stop or len(last.ids) < BLOCK) else have
