"""A ring of staging buffers that threads fill side by side while the device copies from others."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

Slot = TypeVar("Slot")
N_IDLE = 3  # slots that one thread fills in turn, so that the device copies from one while it fills another


class Ring(Generic[Slot]):
    """`make` gives a slot, `finish` waits until the device has copied from one; both are called under `locked()`."""

    def __init__(
        self, make: Callable[[], Slot], finish: Callable[[Slot], None], locked: Callable[[], AbstractContextManager]
    ) -> None:
        self._make, self._finish, self._locked = make, finish, locked
        self._idle: deque[Slot] = deque()  # those given back first are free first
        self.slots: list[Slot] = []

    @contextmanager
    def taken(self) -> Iterator[Slot]:
        """A slot for this thread alone, to fill without the lock and then to copy from."""
        with self._locked():
            slot = self._free()
        try:
            yield slot
        finally:
            with self._locked():
                self._idle.append(slot)

    def flush(self) -> None:
        """Wait until the device has copied from every slot. Under the lock."""
        for slot in self.slots:
            self._finish(slot)

    def _free(self) -> Slot:
        if len(self._idle) < N_IDLE:
            self.slots.append(self._make())
            return self.slots[-1]
        slot = self._idle.popleft()
        self._finish(slot)
        return slot
