"""Service: a scheduler for many threads. Whoever waits for a token drives it; one thread at a time does."""

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import VkrunError
from .scheduler import Scheduler
from .sequence import Sequence

_living: "weakref.WeakSet[Service]" = weakref.WeakSet()


class Service:
    """`name`: of the model, for errors. After close(), and in a process that was forked off, every call raises."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler, self._name = scheduler, name
        self._changed = threading.Condition()  # guards what follows; no step is taken while it is held
        self._driver: int | None = None  # the thread that may step; one that finds itself here was interrupted
        self._closed = False
        self._pid = os.getpid()
        _living.add(self)

    def check(self) -> None:
        """VkrunError where the model cannot be used any more."""
        if self.is_forked:
            raise VkrunError(
                f"{self._name}: loaded by process {self._pid}, of which this one was forked; load it after forking"
            )
        if self._closed:
            raise VkrunError(f"{self._name}: the model is closed")

    @property
    def is_forked(self) -> bool:
        return os.getpid() != self._pid

    def join(self, sequence: Sequence) -> None:
        self.check()
        self._scheduler.join(sequence)

    def next(self, sequence: Sequence) -> int | None:
        """The next token that was chosen for a sequence, None at its end. Raises what ended it."""
        while True:
            self.check()
            ended = sequence.ended  # before `out`, since what is chosen last comes before the end
            if sequence.out and ended != "stopped":
                return sequence.out.popleft()
            if sequence.error:
                raise sequence.error
            if ended:
                return None
            self._step_or_wait(sequence)

    @contextmanager
    def alone(self) -> Iterator[Scheduler]:
        """The scheduler for one's own, once the step under way is over; the others wait."""
        self.check()
        with self._changed:
            self._changed.wait_for(self._may_drive)
            self._driver = threading.get_ident()
        try:
            yield self._scheduler
        finally:
            self._hand_on()

    def close(self) -> bool:
        """Let the device come to rest; False where that was done before, or is another process's."""
        if self._closed or self.is_forked:
            return False
        with self.alone() as scheduler:
            done, self._closed = self._closed, True
            if not done:
                scheduler.close()
        return not done

    def _step_or_wait(self, sequence: Sequence) -> None:
        with self._changed:
            if not self._may_drive():
                self._changed.wait_for(lambda: self._may_drive() or sequence.out or sequence.ended)
                return
            self._driver = threading.get_ident()
        try:
            self._scheduler.step()
        finally:
            self._hand_on()

    def _may_drive(self) -> bool:
        return self._driver in (None, threading.get_ident())

    def _hand_on(self) -> None:
        with self._changed:
            self._driver = None
            self._changed.notify_all()


def _keep_for_good() -> None:
    """In a process that was forked off: what stands for the parent's device is never destroyed, as that would wait for
    threads of a driver that are not there."""
    for service in list(_living):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(service))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_good)
