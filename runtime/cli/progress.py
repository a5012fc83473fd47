"""A bar on stderr for what takes long: weights that load, kernels that compile, tensors that are converted."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Self

from .screen import is_terminal, note

PATIENCE = 0.3  # seconds before a bar is worth its import
PATIENCE_PLAIN = 2.0  # and before a line is worth reading, where no terminal is

# what is reported -> in words
TITLES = {
    "fetching": "fetching",
    "loading": "loading",
    "reading": "reading the prompt",
    "compiling": "compiling kernels for this device, once",
    "converting": "converting",
    "tuning": "timing kernels",
}
_IN_BYTES = {"fetching", "loading"}


class Bar:
    """A progress callback: (what, done, total), total 0 where it is not known. Nothing is shown of what is quick.

    On a terminal a bar, gone when done or at stop(); else one line. Any thread may call it.
    """

    def __init__(self) -> None:
        self._on_terminal = is_terminal(sys.stderr)
        self._lock = threading.Lock()
        self._is_on = True
        self._what = ""
        self._done, self._total = 0, 0
        self._compiled_long = False
        self._timer: threading.Timer | None = None
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        with self._lock:
            if not self._is_on or (total and done >= total):
                self._end()
                return
            if what != self._what:
                self._end()
                self._begin(what)
            self._done, self._total = done, total
            if self._bar is not None:
                self._bar.update(self._task, completed=done, total=total or None)

    def stop(self) -> None:
        with self._lock:
            self._end()

    def may_come_again(self) -> bool:
        """Was there a bar for kernels, where text is to stand? The next step may have some to compile too."""
        return self._compiled_long and is_terminal(sys.stdout)

    @contextmanager
    def lines_of_others(self) -> Iterator[Callable[[], None]]:
        """Inside, once the function has been called that this gives, nothing is shown: a line is being written."""
        try:
            yield self._off
        finally:
            self._is_on = True

    def _off(self) -> None:
        if self._is_on:
            self._is_on = False
            self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _begin(self, what: str) -> None:
        self._what = what
        self._timer = threading.Timer(PATIENCE if self._on_terminal else PATIENCE_PLAIN, self._show, [what])
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._bar is not None:
            self._bar.stop()
        self._what, self._timer, self._bar = "", None, None

    def _show(self, what: str) -> None:
        bar = _bar(what in _IN_BYTES) if self._on_terminal else None  # its import is slow: outside of the lock
        with self._lock:
            if what != self._what or self._bar is not None:
                return
            if bar is None:
                note(f"{TITLES[what]} ...")
                return
            self._compiled_long |= what == "compiling"
            self._bar, self._task = bar, bar.add_task(TITLES[what], total=self._total or None)
            bar.update(self._task, completed=self._done)
            bar.start()


def _bar(in_bytes: bool) -> Any:
    """How much, how fast, how long; gone when done."""
    rich, console = import_module("rich.progress"), import_module("rich.console")
    counts = (rich.DownloadColumn(True), rich.TransferSpeedColumn()) if in_bytes else (rich.MofNCompleteColumn(),)
    parts = (rich.TextColumn("{task.description}"), rich.BarColumn(), *counts, rich.TimeRemainingColumn())
    return rich.Progress(*parts, console=console.Console(stderr=True), transient=True)
