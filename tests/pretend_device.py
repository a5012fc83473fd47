"""A device that holds, in the place of keys and states, the tokens that they stand for: whoever mixes slots up is seen.

The token after some others is a hash of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from vkrun.runtime.engine.choice import TokenChoice
from vkrun.runtime.engine.copies import Pair
from vkrun.runtime.engine.parked import NO_RINGS, Rings
from vkrun.runtime.engine.runner import Chosen, Group, Wanted
from vkrun.runtime.engine.sizes import SOFTWARE, StepSizes
from vkrun.runtime.engine.ways import Way, Ways
from vkrun.runtime.ir.composites.slots import SPAN
from vkrun.runtime.models.step import Chunk

N_VOCAB = 50
NOTHING: tuple[int, int] = -1, -1
Tokens = tuple[int, ...]


def token_after(tokens: Sequence[int]) -> int:
    made = 17
    for t in tokens:
        made = (made * 31 + t + 7) % 1_000_003
    return made % N_VOCAB


def alone(prompt: Sequence[int], n: int) -> list[int]:
    """The n tokens that follow a prompt."""
    ids = list(prompt)
    for _ in range(n):
        ids.append(token_after(ids))
    return ids[len(prompt) :]


@dataclass
class PretendRunner:
    """Stands in for runtime/engine/runner.py."""

    n_caches: int = 2
    n_states: int = 8
    n_ctx: int = 4096
    sizes: StepSizes = SOFTWARE
    rings: Rings = NO_RINGS  # of tokens with their positions, as caches of layers with a window
    n_steps: int = 0
    n_tokens: int = 0  # that were read
    was_new: bool = False
    began: float = 0.0
    n_copies: int = 0
    row_nbytes: int = 4
    ring_nbytes: int = field(init=False)
    caches: list[list[int]] = field(init=False)
    states: list[Tokens | None] = field(init=False)

    def __post_init__(self) -> None:
        self.caches = [[-1] * self.n_ctx for _ in range(self.n_caches)]
        self.ring_nbytes = 8 if self.rings.n_rows else 0
        self.held = [[NOTHING] * self.rings.n_rows for _ in range(self.n_caches)]
        self.states = [None] * max(0, self.n_states - 1) + [()] * (self.n_states > 0)

    @property
    def state_nbytes(self) -> int:
        return 100 if self.n_states else 0

    def copy(self, state: Pair | None = None, caches: Pair | None = None, n: int = 0) -> None:
        self.n_copies += 1
        if state and self.n_states:
            src, dst = state
            assert src != dst and self.states[src] is not None
            self.states[dst] = self.states[src]
        if caches:
            src, dst = caches
            assert src != dst
            self.caches[dst][:n] = self.caches[src][:n]
            self.held[dst][:] = self.held[src]

    def take_keys(self, cache: int, start: int, stop: int) -> list[np.ndarray]:
        assert 0 <= start < stop <= self.n_ctx
        return [np.array(self.caches[cache][start:stop], np.int32).reshape(-1, 1)]

    def put_keys(self, cache: int, start: int, rows: Sequence[np.ndarray]) -> None:
        (data,) = rows
        assert data.shape[1] == 1 and start + len(data) <= self.n_ctx
        self.caches[cache][start : start + len(data)] = data[:, 0].tolist()

    def take_rings(self, cache: int, start: int, stop: int) -> list[np.ndarray]:
        rows = [self.held[cache][pos % self.rings.n_rows] for pos in range(start, stop)]
        assert [pos for pos, _ in rows] == list(range(start, stop))
        return [np.array(rows, np.int32)]

    def put_rings(self, cache: int, start: int, rows: Sequence[np.ndarray]) -> None:
        (data,) = rows
        assert len(data) <= self.rings.n_rows
        for pos, (said, token) in enumerate(data.tolist(), start):
            assert said == pos
            self.held[cache][pos % self.rings.n_rows] = pos, token

    def take_state(self, state: int) -> list[np.ndarray]:
        held = self.states[state]
        assert held is not None
        return [np.array(held, np.int32)]

    def put_state(self, state: int, arrays: Sequence[np.ndarray]) -> None:
        (data,) = arrays
        assert state != self.n_states - 1
        self.states[state] = tuple(data.tolist())

    def clear_keys(self, cache: int) -> None:
        self.caches[cache][:] = [-1] * self.n_ctx
        self.held[cache][:] = [NOTHING] * self.rings.n_rows

    def takes_snapshots(self, n_tokens: int) -> bool:
        return self.n_states > 0 and n_tokens >= SPAN

    def way(self, unread: Sequence[int], most: int, n_beside: int, n_held: int) -> Way:
        ways = Ways(SimpleNamespace(sizes=self.sizes, foresight=None))  # type: ignore[arg-type]
        return ways.choose(self.sizes, unread, most, n_beside, n_held)

    def decode(self, chunks: Sequence[Chunk], choices: Sequence[TokenChoice], limit: int) -> "PretendRun":
        assert len(chunks) == len(choices) and limit > 0
        return PretendRun(self, list(chunks), limit)

    def step(self, groups: Sequence[Group], wanted: Sequence[Wanted | None]) -> list[Chosen]:
        chunks = [c for group, _ in groups for c in group]
        assert all(len(c.ids) <= n for group, n in groups for c in group)
        made = self.run(chunks)
        assert all(want is None or list(tokens) == want.ids for tokens, want in zip(made, wanted, strict=True))
        return [token_after(t) if want else None for t, want in zip(made, wanted, strict=True)]

    def run(self, chunks: Sequence[Chunk]) -> list[Tokens]:
        """What each chunk's sequence holds after a step."""
        self.n_steps += 1
        self.n_tokens += sum(len(c.ids) for c in chunks)
        caches = [c.slot for c in chunks]
        assert len(set(caches)) == len(caches)
        written = [s for c in chunks for s in (c.state_slot, *c.snapshots) if s is not None and s >= 0]
        assert len(set(written)) == len(written) and self.n_states - 1 not in written
        return [self._one(c) for c in chunks]

    def _one(self, c: Chunk) -> Tokens:
        assert len(c.ids) > 0 and c.pos + len(c.ids) <= self.n_ctx
        past = tuple(self.caches[c.slot][: c.pos])
        if self.n_states:
            assert c.state_slot is not None and self.states[c.state_slot] == past
        made = (*past, *c.ids)
        self.caches[c.slot][c.pos : len(made)] = c.ids
        self._see(c, made)
        if c.state_slot is not None:
            self.states[c.state_slot] = made
        for i, slot in enumerate(c.snapshots):
            if slot >= 0:
                assert i * SPAN < len(c.ids)
                self.states[slot] = made[: c.pos + min((i + 1) * SPAN, len(c.ids))]
        return made

    def _see(self, c: Chunk, made: Tokens) -> None:
        """Write a chunk into a ring, and look at what its tokens see there."""
        held, n_rows = self.held[c.slot], self.rings.n_rows
        for pos in range(c.pos, len(made)) if n_rows else ():
            held[pos % n_rows] = pos, made[pos]
        for pos in range(max(0, c.pos + 1 - self.rings.window), len(made)) if n_rows else ():
            assert held[pos % n_rows] == (pos, made[pos])


@dataclass
class PretendRun:
    """A step is carried out where it begins, so that two of them have begun before the first is read."""

    runner: PretendRunner
    chunks: list[Chunk]
    n_left: int
    begun: list[np.ndarray] = field(default_factory=list)

    @property
    def n_under_way(self) -> int:
        return len(self.begun)

    def next(self, goes_on: bool = True) -> np.ndarray:
        while self.n_left and self.n_under_way < (2 if goes_on else 1):
            tokens = [token_after(made) for made in self.runner.run(self.chunks)]
            self.chunks = [
                Chunk(c.slot, c.pos + 1, [t], state_slot=c.state_slot) for c, t in zip(self.chunks, tokens, strict=True)
            ]
            self.n_left -= 1
            self.begun.append(np.array(tokens, np.int32))
        return self.begun.pop(0)

    def abandon(self) -> None:
        self.begun.clear()
