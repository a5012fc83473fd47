"""What a chat's user types: lines with editing and a history on a terminal, blocks between three quotes."""

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Self

from .. import config
from ..errors import VkrunError
from .line_wait import LineWait
from .screen import is_terminal, lines, note

QUOTES = '"""'
N_HISTORY = 1000


class LineInput:
    """Messages from stdin. A context manager: the history is saved on leaving.

    readline and not a toolkit of more comfort: it starts in 5 ms instead of 200.
    """

    def __init__(self) -> None:
        self._on_terminal = is_terminal(sys.stdin)
        self._readline = _readline() if self._on_terminal else None
        self._history: Path | None = None
        self._wait = LineWait(self._on_terminal)

    def __enter__(self) -> Self:
        if self._readline is not None and (path := _history_file()) is not None:
            with contextlib.suppress(OSError):  # a history that this readline cannot read: it starts anew
                self._readline.read_history_file(path)
            self._history = path
        self._wait.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._wait.stop()
        if self._readline is not None and self._history is not None:
            self._readline.set_history_length(N_HISTORY)
            with contextlib.suppress(OSError):  # the disk filled up meanwhile: no reason to fail on leaving
                self._readline.write_history_file(self._history)

    def said(self) -> str | None:
        """The next message that says something, None at the end of input; Ctrl-C while typing drops the line."""
        while True:
            try:
                message = self.message()
            except KeyboardInterrupt:
                lines("")
                note("Ctrl-D or /bye leaves")
                continue
            if message is None or message.strip():
                return message

    def message(self) -> str | None:
        '''The next message, None at the end of input; `"""` begins a block that ends at the next `"""`.

        KeyboardInterrupt drops what was typed.
        '''
        line = self._line("> ")
        if line is None or not line.lstrip().startswith(QUOTES):
            return line
        block = line.lstrip()[len(QUOTES) :]
        while not block.rstrip().endswith(QUOTES):
            line = self._line(". ")
            if line is None:
                return block
            block += "\n" + line
        return block.rstrip()[: -len(QUOTES)].strip("\n")

    def _line(self, prompt: str) -> str | None:
        try:
            if not self._on_terminal:
                return _read_line()
            with self._wait.waiting():
                return input(prompt)
        except EOFError:
            return None
        except UnicodeDecodeError:
            raise VkrunError("stdin: what came is not UTF-8") from None


def _read_line() -> str | None:
    line = sys.stdin.readline() if sys.stdin is not None else ""
    return line.rstrip("\n") if line else None


def _readline() -> ModuleType | None:
    try:
        return import_module("readline")
    except ImportError:  # Windows, and Pythons built without it: lines without editing
        return None


def _history_file() -> Path | None:
    """The file, made if need be, for its owner's eyes only; None where it cannot be."""
    folder = config.data_dir()
    if folder is None:
        return None
    path = folder / "history"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError:
        return None
    return path
