"""The device's one queue, and what of its work is still under way."""

from collections import deque
from threading import RLock
from typing import Any

from ...runtime import config
from . import api
from .physical import Physical


class Context:
    """Command buffers run in the order in which they are committed. The caller holds `lock`. `replays`: Metal keeps the
    commands of programs, see replays.py.

    Resources are not retained by command buffers, which is cheaper: nothing is given back before come_to_rest().
    """

    def __init__(self, physical: Physical) -> None:
        self.physical, self.lock = physical, RLock()
        self.replays = config.read().metal_replay and physical.keeps_commands
        self.metal, self.device = api.framework(), physical.handle
        self._queue: Any = self.device.newCommandQueue()
        self._under_way: deque[Any] = deque()
        self._failed: deque[Any] = deque()  # command buffers, as their completion tells
        self._completed = self._note_completed  # one bound method for all

    def command_buffer(self) -> Any:
        """A new one, inside of an api.pool()."""
        return self._queue.commandBufferWithUnretainedReferences()

    def commit(self, buffer: Any) -> None:
        while self._under_way and self._under_way[0].status() >= self.metal.MTLCommandBufferStatusCompleted:
            self._under_way.popleft()
        buffer.addCompletedHandler_(self._completed)
        self._under_way.append(buffer)
        buffer.commit()

    def wait(self, buffer: Any) -> None:
        """Until it has ended. CommandError where it or one before it failed."""
        buffer.waitUntilCompleted()
        self._raise_failed()

    def settle(self) -> None:
        """Until all that was committed has ended, whoever waits for it. CommandError as wait() raises it."""
        self.come_to_rest()
        self._raise_failed()

    def come_to_rest(self) -> None:
        """The same before something is given back, whatever became of the work."""
        if self._under_way:
            self._under_way[-1].waitUntilCompleted()
            self._under_way.clear()

    def nbytes_free(self) -> int:
        return max(0, self.physical.memory - self.device.currentAllocatedSize())

    def _note_completed(self, buffer: Any) -> None:
        """Metal calls it, on a thread of its own."""
        if buffer.status() == self.metal.MTLCommandBufferStatusError:
            self._failed.append(buffer)

    def _raise_failed(self) -> None:
        if self._failed:
            error = self._failed[0].error()
            self._failed.clear()
            raise api.CommandError(self.physical.name, error)
