"""A bar on stderr while weights load."""

import sys
import time
from importlib import import_module
from typing import Any, Self

from .screen import is_terminal

PATIENCE = 0.3  # seconds of loading before a bar is worth its import


class LoadBar:
    """load()'s progress callback: nothing for loads that are quick, and nothing unless stderr is a terminal."""

    def __init__(self) -> None:
        self._start: float | None = None  # of the upload: what comes before it has no bytes to count
        self._on = is_terminal(sys.stderr)
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        self._start = self._start or time.monotonic()
        if not self._on or time.monotonic() - self._start < PATIENCE:
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("loading", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Any:
    """Bytes, rate and time left, gone when done."""
    rich, console = import_module("rich.progress"), import_module("rich.console")
    parts = (rich.BarColumn(), rich.DownloadColumn(True), rich.TransferSpeedColumn(), rich.TimeRemainingColumn())
    return rich.Progress(rich.TextColumn("loading"), *parts, console=console.Console(stderr=True), transient=True)
