"""Slots saved to files and brought back, and what is told of them."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import SessionError, UsageError
from .runner import Runner
from .saved import Form, Session, save
from .slots import CacheSlot, Slots


class SlotFiles:
    """Of the slots that a scheduler gives out; the device is at rest when it is called. form: of the model's sessions,
    None where it has no name that tells it from others."""

    def __init__(self, runner: Runner, slots: Slots, form: Form | None) -> None:
        self._runner, self._slots, self._form = runner, slots, form

    def save(self, index: int | None, path: Path, running: Mapping[int, int]) -> int:
        """Write a slot, or the one used last, to a file: how many tokens. running: by slot the states of those that
        take part, as they are at the end of what was read. SessionError where it cannot be written, and then what was
        there stays; UsageError for a slot that is empty or none."""
        cache = self._slots.latest() if index is None else self._slot(index)
        if not cache.ids:
            raise UsageError(f"slot {cache.index}: holds no tokens to save")
        states = {c.pos: c.state for c in cache.checkpoints if c.filled}
        if cache.index in running:
            states[len(cache.ids)] = running[cache.index]
        save(path, self._known(), cache.index, cache.ids, states, self._runner, cache.n_lost)
        return len(cache.ids)

    def restore(self, index: int | None, path: Path) -> int:
        """Let an idle slot, or the one used least recently, hold what was saved: how many tokens. SessionError for a
        file that is damaged, hostile or another model's; a slot whose keys were read by then is empty."""
        cache = self._slots.oldest() if index is None else self._idle(index)
        with Session.open(path, self._known()) as session:
            self._slots.empty(cache)
            try:
                self._fill(cache, session)
            except BaseException:
                self._slots.forget(cache)
                raise
        return len(cache.ids)

    def erase(self, index: int) -> int:
        """Forget what an idle slot holds: how many tokens."""
        cache = self._idle(index)
        n = len(cache.ids)
        self._slots.forget(cache)
        return n

    def _fill(self, cache: CacheSlot, session: Session) -> None:
        for start, rows in session.pieces():
            self._runner.put_keys(cache.index, start, rows)
        n_lost = max(session.header.n_lost, len(session.ids) - self._runner.rings.n_rows)
        for start, rows in session.ring_pieces():
            if start + (n := len(rows[0])) > n_lost:
                first = max(start, n_lost)
                self._runner.put_rings(cache.index, first, [a[n - (start + n - first) :] for a in rows])
        for pos, state in session.states():
            if checkpoint := self._slots.keep(cache, pos):
                self._runner.put_state(checkpoint.state, state)
        session.finish()
        self._slots.hold(cache, session.ids, n_lost if self._runner.ring_nbytes else 0)

    def _slot(self, index: int) -> CacheSlot:
        if not 0 <= index < len(self._slots.caches):
            raise UsageError(f"slot {index}: expected 0 to {len(self._slots.caches) - 1}")
        return self._slots.caches[index]

    def _idle(self, index: int) -> CacheSlot:
        cache = self._slot(index)
        if cache.taken:
            raise UsageError(f"slot {index}: a sequence runs in it")
        return cache

    def _known(self) -> Form:
        if self._form is None:
            raise SessionError("sessions: the model was loaded without a name that tells it from others")
        return self._form
