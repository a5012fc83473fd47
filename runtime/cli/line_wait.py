"""Ctrl-C while the main thread waits for a line.

readline looks at signals only when its select() is interrupted: a SIGINT that comes in the instant before, or that the
kernel gives to another thread, would be seen at the next key. Python's handler, in whichever thread it runs, also
writes to the wakeup descriptor: a thread reads that, and interrupts the main thread until the line ends.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NUDGE_S = 0.01  # to the second nudge, since the first may come in the instant before select() too; then twice as long


class LineWait:
    """`waiting()` goes around each input(), between `start` and `stop`.

    Where signals between threads are missing (Windows), and outside the main thread, it does nothing.
    """

    def __init__(self, wanted: bool) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        self._able = wanted and in_main and hasattr(signal, "pthread_kill")
        self._lines = 0  # odd while one is waited for

    def start(self) -> None:
        if not self._able:
            return
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._urg_before = signal.signal(signal.SIGURG, _nothing)  # a signal that no one sends to a program like this
        threading.Thread(target=self._nudge, args=(read, threading.get_ident()), daemon=True).start()

    def stop(self) -> None:
        if not self._able:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        signal.signal(signal.SIGURG, self._urg_before)
        os.close(self._write)  # which ends the thread

    @contextmanager
    def waiting(self) -> Iterator[None]:
        try:
            self._lines |= 1
            yield
        finally:
            self._lines = (self._lines | 1) + 1

    def _nudge(self, read: int, main: int) -> None:
        while signals := os.read(read, 64):
            line, pause = self._lines, NUDGE_S
            while signal.SIGINT in signals and line & 1 and line == self._lines:
                with suppress(ProcessLookupError):
                    signal.pthread_kill(main, signal.SIGURG)
                time.sleep(pause)
                pause *= 2
        os.close(read)


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """Its use is that select() returns and Python looks at signals."""
