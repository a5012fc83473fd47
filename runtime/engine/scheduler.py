"""Scheduler: which sequences take part in the next step of the device. They join and leave as they like."""

import time
from collections import deque
from collections.abc import Sequence as Rows
from math import prod
from pathlib import Path

import numpy as np

from ..errors import TextError, VkrunError
from ..models.step import Chunk
from .checkpoints import EVERY, FEWEST, checkpoint_ends, snapshots
from .choice import not_finite
from .decode import DecodeRun
from .pace import Pace
from .restoring import restore
from .runner import Chosen, Runner, Wanted
from .saved import Form
from .sequence import Sequence
from .slot_files import SlotFiles
from .slots import CacheSlot, Checkpoint, Slots
from .ways import Way, readers

WORTH_WAITING = 64  # tokens that another sequence is about to read
NOBODY: Way = 0, 0
NEAR = 8  # tokens between two checkpoints, of which one is enough


class Scheduler:
    """Owns the slots, and the sequences that wait for them or run in them. One thread at a time, but for join().

    A step reads a chunk of some prompts and one token of each sequence that decodes. While nothing joins or leaves, the
    device runs a step ahead of the host.
    """

    def __init__(self, runner: Runner, slots: Slots, form: Form | None = None) -> None:
        """form: of sessions in files."""
        self.runner, self.slots = runner, slots
        self._files = SlotFiles(runner, slots, form)
        self.running: list[Sequence] = []
        self._joining: deque[Sequence] = deque()  # by any thread
        self._waiting: list[Sequence] = []
        self._every = max(FEWEST, 2 * runner.n_ctx // max(1, slots.n_checkpoints))  # tokens of a prompt
        self._run: DecodeRun | None = None
        self._rows: list[Sequence] = []  # of the run
        self._pace, self._last = Pace(runner.sizes), 0.0  # when a run gave its latest tokens, 0 before its first
        if slots.parked:
            slots.parked.worth.rereads = self._pace.rereads
        self._given = 0.0  # when those that decode were given their latest tokens, 0 where they were given none

    def join(self, sequence: Sequence) -> None:
        """Let a sequence take part, from the next step on for which there is a seat."""
        self._joining.append(sequence)

    def step(self) -> None:
        """Take one step. What fails ends the sequences that took part, each of which holds the error."""
        try:
            if self._run and self._stays():
                self._take_drawn(self._run)
            else:
                self.rest()
                self._admit()
                self._begin()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def hold_gaps(self, max_gap: float | None) -> None:
        """How long prompts may hold up who decodes: Pace's max_gap."""
        self._pace.max_gap = max_gap

    def rest(self) -> None:
        """Let the device come to rest, and whoever has ended leave."""
        while self._run and self._run.n_under_way:
            self._take_drawn(self._run, goes_on=False)
        self._run, self._rows = None, []
        for s in [s for s in self.running if s.ended]:
            self._leave(s)
        while self._joining:
            self._waiting.append(self._joining.popleft())
        self._waiting = [s for s in self._waiting if not s.ended]
        self._given = self._given if self.running else 0.0

    def logits(self, ids: list[int], hidden: bool = False) -> np.ndarray:
        """float32 [len(ids), n_vocab]: the logits after each token, from an empty state; hidden: as Engine.prompt's.
        All others wait."""
        self.rest()
        if not self._make_room():
            self._make_wait(self.running[-1])
        seat = self.slots.claim([])
        assert seat is not None
        try:
            if self.slots.has_states:
                self.runner.copy(state=(seat.state_from, seat.state))
            return self.runner.logits(seat.cache.index, seat.state, ids, hidden)
        finally:
            self.slots.release(seat, intact=False)

    def save_slot(self, index: int | None, path: Path) -> int:
        """Write what a slot holds to a file: how many tokens. See SlotFiles."""
        self.rest()
        return self._files.save(index, path, {s.seat.cache.index: s.seat.state for s in self.running if s.seat})

    def restore_slot(self, index: int | None, path: Path) -> int:
        """Let an idle slot hold what was saved: how many tokens. See SlotFiles."""
        self.rest()
        return self._files.restore(index, path)

    def erase_slot(self, index: int) -> int:
        """Forget what an idle slot holds: how many tokens."""
        self.rest()
        return self._files.erase(index)

    def slots_info(self) -> list[dict[str, int | bool]]:
        """Of each slot what servers tell."""
        running = {s.seat.cache.index: s for s in self.running if s.seat}
        return [self._info(c, running.get(c.index)) for c in self.slots.caches]

    def parked_info(self) -> dict[str, int]:
        """What is parked: tokens, states, bytes, of how many at most (-1: no limit), and what had to go so far."""
        if (p := self.slots.parked) is None:
            return {"n_tokens": 0, "n_states": 0, "nbytes": 0, "limit": 0, "n_evicted": 0}
        limit = -1 if p.limit is None else p.limit
        return {
            "n_tokens": p.n_tokens,
            "n_states": p.n_states,
            "nbytes": p.nbytes,
            "limit": limit,
            "n_evicted": p.n_evicted,
        }

    def _info(self, cache: CacheSlot, s: Sequence | None) -> dict[str, int | bool]:
        return {
            "id": cache.index,
            "n_ctx": self.runner.n_ctx,
            "is_processing": cache.taken,
            "n_held": len(cache.ids),
            "n_checkpoints": len(cache.checkpoints),
            "n_prompt": s.timings.n_prompt if s else 0,
            "n_reused": s.timings.n_cached if s else 0,
            "n_decoded": s.n_chosen if s else 0,
        }

    def close(self) -> None:
        """Let the device come to rest, and drop the runner's programs."""
        self.rest()
        self.runner.close()

    # who takes part

    def _stays(self) -> bool:
        """Does the run go on with just those who are in it?"""
        able = [s for s in self.running if s.goes_on]
        going = [s for s in able if s in self._rows] if self._pace.n_rests(len(self._rows)) else able
        is_room = self.slots.n_idle > 0 or len(able) < len(self.running)
        joins = bool(self._joining) or (is_room and any(s.goes_on for s in self._waiting))
        return not joins and going == self._rows and bool(self._run and (self._run.n_left or self._run.n_under_way))

    def _admit(self) -> None:
        for s in [s for s in self._waiting if s.goes_on]:
            if self._is_being_read(s):
                continue
            if not self._make_room():
                return
            self._waiting.remove(s)
            self._seat(s)

    def _is_being_read(self, s: Sequence) -> bool:
        """Is another one about to read much of what s begins with? Then s waits, and goes on from there: a mark sees to
        it that it can."""
        for r in self.running if s.cache_prompt else ():
            shared = min(r.prompt.n_shared(s.prompt.ids, s.prompt.chain), len(s.prompt.ids) - 1)
            if r.goes_on and r.n_unread > 1 and shared - r.n_read >= WORTH_WAITING:
                if shared not in r.marks:
                    r.marks.append(shared)
                return True
        return False

    def _make_room(self) -> bool:
        """Is there a seat, if need be that of a sequence whose reader lags behind?"""
        lagging = next((s for s in self.running if not s.goes_on), None)
        if not self.slots.n_idle and lagging:
            self._make_wait(lagging)
        return self.slots.n_idle > 0

    def _make_wait(self, s: Sequence) -> None:
        self._leave(s)
        self._waiting.append(s)

    def _seat(self, s: Sequence) -> None:
        seat = self.slots.claim(s.ids, s.cache_prompt)
        assert seat is not None
        s.begin(seat)
        self.running.append(s)
        restore(self.runner, seat)

    def _leave(self, s: Sequence, intact: bool = True) -> None:
        assert s.seat is not None
        self.running.remove(s)
        self.slots.release(s.seat, intact and not s.error)
        if intact and s.error:
            self.runner.clear_keys(s.seat.cache.index)  # NaN among them would count even where it is masked
        s.seat = None

    def _fail(self, error: BaseException) -> None:
        """Nobody knows what the slots hold now."""
        run, self._run, self._rows = self._run, None, []
        for s in list(self.running):
            s.end("error", error if isinstance(error, Exception) else VkrunError("a step was interrupted"))
            self._leave(s, intact=False)
        if run:
            run.abandon()

    # steps

    def _begin(self) -> None:
        going = [s for s in self.running if s.goes_on]
        ones = [s for s in going if s.n_unread == 1 and s.limit]
        reads, way = self._readers([s for s in going if s not in ones], ones)
        for s in ones:
            self._keep_now(s, {s.n_read: True} if s.n_uncheckpointed >= EVERY else {})
        if reads or not all(s.choice.on_device for s in ones):
            self._read(reads, way, ones)
        elif ones:
            limit = min(min(s.n_left, EVERY - s.n_uncheckpointed % EVERY) for s in ones)
            limit = limit if len(ones) == len(going) else min(limit, max(1, self._pace.n_rests(len(ones))))
            chunks = [_chunk(s, 1) for s in ones]
            self._run, self._rows = self.runner.decode(chunks, [s.choice for s in ones], limit), ones
            self._last = 0.0
            self._take_drawn(self._run)

    def _readers(self, reads: Rows[Sequence], ones: Rows[Sequence]) -> tuple[list[Sequence], Way]:
        """Who reads a chunk of a prompt, the oldest among them, and as how many with how many tokens each that is
        planned.

        ones: who decodes beside them."""
        n, planned = len(ones), self.runner.sizes
        most = self._pace.most(n, n + len(reads)) if reads and n else planned.most
        if not reads or not most:
            return [], NOBODY
        unread = [s.n_unread for s in reads]
        held = [s.n_read + min(s.n_unread, most) for s in reads] + [s.n_read + 1 for s in ones]
        way = self.runner.way(unread, most, n, max(held))
        return [reads[i] for i in readers(unread, way)], way

    def _read(self, readers: list[Sequence], way: Way, ones: list[Sequence]) -> None:
        """One step of chunks of prompts beside single tokens."""
        size, rows = way[1], [*readers, *ones]
        lengths = [min(size, s.n_unread) for s in readers] + [1] * len(ones)
        ends = [
            checkpoint_ends(s.n_read, s.n_read + n, s.marks, self._every)
            for s, n in zip(readers, lengths, strict=False)
        ]
        inside = self.runner.takes_snapshots(size)
        kept = [self._keep(s, its) if inside else [] for s, its in zip(readers, ends, strict=True)]
        reads = [_chunk(s, size, self._columns(s, size, cs)) for s, cs in zip(readers, kept, strict=True)]
        wanted = [
            Wanted(s.choice, s.ids) if n == s.n_unread and s.limit else None for s, n in zip(rows, lengths, strict=True)
        ]
        groups = _groups(reads, size, [_chunk(s, 1) for s in ones])
        start = self._given or time.perf_counter()
        made = self.runner.step(groups, wanted)
        self._took(start, prod(way), sum(lengths), len(ones))
        for s, n, chosen in zip(rows, lengths, made, strict=True):
            s.read(n)
            _choose(s, chosen)
        for c in (c for made in kept for c in made):
            c.filled = True
        for s, n, its in zip(readers, lengths, ends, strict=False) if not inside else ():
            self._drop_approach(s, s.n_read - n, its)
            self._keep_now(s, its)

    def _took(self, start: float, n_tokens: int, n_used: int, n: int) -> None:
        """Tell the pace how long n sequences that decode waited for a step, with what was done for others before it."""
        now = time.perf_counter()
        if n and not self.runner.was_new:
            self._pace.took(now - start, n_tokens, n)
        elif not n:
            self._pace.took_alone(now - (self.runner.began if self.runner.was_new else start), n_tokens, n_used)
        self._given = now if n else 0.0

    def _keep(self, s: Sequence, ends: dict[int, bool]) -> list[Checkpoint]:
        """New checkpoints of a sequence, yet to be filled."""
        assert s.seat is not None
        made = [self.slots.keep(s.seat.cache, pos, passing) for pos, passing in ends.items()]
        return [c for c in made if c]

    def _columns(self, s: Sequence, size: int, made: list[Checkpoint]) -> Rows[int]:
        """The snapshots of a chunk that fill new checkpoints, but for those that made way for others since."""
        assert s.seat is not None
        if not made:
            return ()
        return snapshots(s.n_read, size, [c for c in made if c in s.seat.cache.checkpoints])

    def _keep_now(self, s: Sequence, ends: dict[int, bool]) -> None:
        """Keep the state as it is, which is that at the end of what was read."""
        assert s.seat is not None
        for c in self._keep(s, {pos: passing for pos, passing in ends.items() if pos == s.n_read}):
            self.runner.copy(state=(s.seat.state, c.state))
            c.filled = True

    def _drop_approach(self, s: Sequence, first: int, ends: dict[int, bool]) -> None:
        """A chunk of few tokens that comes nearer to a mark makes the checkpoint needless that the one before left."""
        assert s.seat is not None
        if all(ends.values()):
            return
        if s.approach == first and s.n_read - first < NEAR and not any(first <= m < s.n_read for m in s.marks):
            self.slots.drop(s.seat.cache, first)
        s.approach = -1 if s.n_read in s.marks else s.n_read

    def _take_drawn(self, run: DecodeRun, goes_on: bool = True) -> None:
        tokens, last, self._last = run.next(goes_on).tolist(), self._last, time.perf_counter()
        self._given = self._last
        self._pace.rested(len(self._rows))
        if last and goes_on:
            self._pace.took(self._last - last, 0, len(self._rows))
        for s, token in zip(self._rows, tokens, strict=True):
            s.read(1)
            if not s.ended:
                _choose(s, s.choice.failed or (token if token >= 0 else not_finite(s.n_read)))


def _groups(reads: list[Chunk], size: int, ones: list[Chunk]) -> list[tuple[list[Chunk], int]]:
    """Chunks of prompts and single tokens; all of one size are one group."""
    return [group for group in ([([*reads, *ones], 1)] if size <= 1 else [(reads, size), (ones, 1)]) if group[0]]


def _choose(s: Sequence, chosen: Chosen) -> None:
    if isinstance(chosen, int):
        try:
            s.take(chosen)
        except TextError as error:  # of what may come after it
            s.end("error", error)
    elif chosen is not None:
        s.end("error", chosen)


def _chunk(s: Sequence, n: int, columns: Rows[int] = ()) -> Chunk:
    """The next tokens of a sequence, at most n."""
    assert s.seat is not None
    at = s.n_read
    state = s.seat.state if s.seat.state >= 0 else None
    return Chunk(s.seat.cache.index, at, s.ids[at : at + n], state_slot=state, snapshots=columns)
