"""What reaches the terminal: a model's words and a file's names are untrusted and may hold control sequences."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from .. import config

# C0 but tab and newline, DEL and C1: what terminals take as commands
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}

DIM, DIM_END = "\x1b[2m", "\x1b[22m"
THINK, THINK_END = "<think>\n", "</think>\n"


def safe(text: str) -> str:
    """`text` with the controls a terminal would obey as visible escapes; tabs and newlines stay."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    return safe(" ".join(text.split()))


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def note(text: str) -> None:
    """`vkrun: text` on stderr: everything that is no answer."""
    if sys.stderr is not None:
        print(f"vkrun: {one_line(text)}", file=sys.stderr, flush=True)


def lines(text: str) -> None:
    """Lines on stderr, with no head: help and figures."""
    if sys.stderr is not None:
        print(safe(text), file=sys.stderr, flush=True)


class Screen:
    """Writes an answer to stdout piece by piece: controls are escaped on a terminal and left alone in a pipe.

    echo: the prompt, written with the first piece: what is said on stderr until then stands on lines of its own.
    """

    def __init__(self, echo: str = "") -> None:
        self._escapes = is_terminal(sys.stdout)
        self._dims = self._escapes and config.may_style()
        self._echo, self._at_start, self._thinks = echo, True, False

    def write(self, text: str) -> None:
        text, self._echo = self._echo + text, ""
        if text and self._thinks:
            self._end_thought()
        self._write(text)

    def think(self, text: str) -> None:
        """Reasoning: dimmed where the terminal can, else between tags."""
        if not self._thinks:
            self.write("" if self._dims else THINK)
            self._thinks = True
        self._write(text, self._dims)

    def _end_thought(self) -> None:
        self._thinks = False
        self._write("\n\n" if self._dims else f"\n{THINK_END}\n")

    def _write(self, text: str, dim: bool = False) -> None:
        if not text:
            return
        text, self._at_start = safe(text) if self._escapes else text, text.endswith("\n")
        sys.stdout.write(f"{DIM}{text}{DIM_END}" if dim else text)
        sys.stdout.flush()

    def end_line(self) -> None:
        """A newline, unless one was the last thing written; the echo, where nothing followed it."""
        self.write("")
        if self._thinks and not self._dims:
            self._end_thought()
        self.break_line()

    def break_line(self) -> None:
        """A newline where a line was begun, so that what comes next on stderr does not stick to it."""
        if not self._at_start:
            self._write("\n")


def forgive_encoding() -> None:
    """Characters that the terminal's encoding lacks become `?` on stdout, instead of ending the program."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def flush_or_drop_stdout() -> None:
    """After an error that may have been stdout's: the interpreter's own flush at exit must not be a second one."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        drop_stdout()


def drop_stdout() -> None:
    """After a broken pipe: what is still buffered goes nowhere, so that leaving raises no second error."""
    with contextlib.suppress(OSError, ValueError):  # no file behind it: then nothing is flushed at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows as aligned columns, two blanks apart; `right` are the columns that stand flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def cell(i: int, text: str) -> str:
        return text.rjust(widths[i]) if i in right else text.ljust(widths[i])

    return "\n".join("  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() for row in rows)
