"""Splits an answer into content, reasoning and calls while it is made, however its text is cut into pieces.

A parser is a generator that goes through the text once and yields where it needs more of it. Text is cut off only when
what it is has been decided, so that where a piece ends decides nothing. What does not keep to the format is content.
"""

import json
import secrets
import string
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..stream import n_held
from .deltas import Arguments, Call, Content, Delta, Reasoning, joined
from .scan import JsonScanner

T = TypeVar("T")
Steps = Generator[None, None, T]
MAX_NAME = 256
BLANKS = " \t\r\n"
_ALPHABET = string.ascii_letters + string.digits


class Broken(Exception):
    """The text is none of the format's calls."""


def random_ids() -> Iterator[str]:
    """Ids of calls: nine letters and digits, which is what Mistral's templates insist on."""
    while True:
        yield "".join(secrets.choice(_ALPHABET) for _ in range(9))


@dataclass(frozen=True)
class Setting:
    """How one answer is to be read.

    tools: name -> JSON schema of its arguments; without any, no calls are looked for. tags: what reasoning stands
    between; None leaves it in the content. opened: the prompt ends inside of it. anywhere: it may begin behind content.
    eager: a call is told of as soon as its name is known, and what breaks it later is content behind it; else only
    whole calls are told of, and a broken one is content from its beginning.
    """

    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: tuple[str, str] | None = ("<think>", "</think>")
    opened: bool = False
    anywhere: bool = False
    eager: bool = True
    ids: Iterator[str] = field(default_factory=random_ids)


class AnswerParser:
    """Takes an answer's text in pieces and gives its deltas. This one knows no calls; others are made of it."""

    begins: tuple[str, ...] = ()  # marks at which calls begin

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._text = ""  # not decided yet
        self._raw: list[str] = []  # cut off, and not told of yet: content, should it come to nothing
        self._blank = ""  # white space behind content or reasoning, which only more of it makes part of that
        self._spoke = False  # content was told of
        self._trims = False  # white space before the next content goes
        self._out: list[Delta] = []
        self._pending: list[Delta] = []  # of a call, where only whole ones are told of
        self._n_calls, self._in_call = 0, False
        self._is_last = self._is_over = False
        self._steps = self._answer()

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain now."""
        self._text += text
        return self._go_on()

    def finish(self) -> list[Delta]:
        """The last deltas: no more text follows."""
        self._is_last = True
        return self._go_on()

    @property
    def n_calls(self) -> int:
        """Calls told of so far."""
        return self._n_calls

    def _go_on(self) -> list[Delta]:
        if not self._is_over:
            try:
                next(self._steps)
            except StopIteration:
                self._is_over = True
        out, self._out = joined(self._out), []
        return out

    def _answer(self) -> Steps[None]:
        if self.setting.opened:
            yield from self._thought()
        else:
            yield from self._opening()
        yield from self._body()
        self._end()

    def _body(self) -> Steps[None]:
        """Content with calls in it, up to the end."""
        tags, begins = self.setting.tags, self.begins if self.setting.tools else ()
        marks = (*begins, tags[0]) if tags and self.setting.anywhere else begins
        while mark := (yield from self._stream(marks, self._say)):
            if mark in begins:
                yield from self._try(self._calls(mark))
            else:
                self._text = self._text[len(mark) :]
                yield from self._thought()

    def _calls(self, mark: str) -> Steps[None]:
        """What begins with the mark, which is to be cut off first. Raises Broken."""
        raise Broken
        yield

    def _try(self, calls: Steps[None]) -> Steps[None]:
        try:
            yield from calls
            self._raw, self._trims = [], True
        except Broken:
            self._drop_call()

    def _drop_call(self) -> None:
        """What was cut off and not told of was no call; what follows is looked at anew."""
        raw, self._raw = "".join(self._raw), []
        if self._in_call and not self.setting.eager:
            self._n_calls -= 1
        self._in_call, self._pending = False, []
        self._say(raw)

    def _end(self) -> None:
        if self._blank and not self._n_calls and not self._trims:
            self._out.append(Content(self._blank))

    # Reasoning

    def _opening(self) -> Steps[None]:
        """Reasoning, where the answer begins with its tag."""
        if not (tags := self.setting.tags):
            return
        while not (text := self._text.lstrip(BLANKS)).startswith(tags[0]):
            if self._is_last or (text and not tags[0].startswith(text)):
                return
            yield
        self._text = text[len(tags[0]) :]
        yield from self._thought()

    def _thought(self) -> Steps[None]:
        assert self.setting.tags is not None
        self._blank, self._trims = "", True
        if mark := (yield from self._stream((self.setting.tags[1],), self._think)):
            self._text = self._text[len(mark) :]
        self._blank, self._trims = "", True

    # What is told

    def _say(self, text: str) -> None:
        self._tell(Content, text)

    def _think(self, text: str) -> None:
        self._tell(Reasoning, text)

    def _tell(self, kind: type[Content] | type[Reasoning], text: str) -> None:
        """Without the white space at its end, which may turn out to stand before a mark."""
        self._raw = []
        text = self._apart(text.lstrip(), kind) if self._trims else self._blank + text
        told = text.rstrip()
        self._blank = text[len(told) :]
        if told:
            self._trims = False
            self._spoke |= kind is Content
            self._out.append(kind(told))

    def _apart(self, text: str, kind: type[Content] | type[Reasoning]) -> str:
        """Text behind a call or reasoning, a paragraph of its own where something was said before that."""
        return f"\n\n{text}" if text and self._spoke and kind is Content else text

    def _begin_call(self, name: str, call_id: str | None = None) -> None:
        if not name or len(name) > MAX_NAME:
            raise Broken
        self._in_call = True
        self._put(Call(self._n_calls, call_id or next(self.setting.ids), name))
        self._n_calls += 1

    def _argue(self, text: str) -> None:
        if text:
            self._put(Arguments(self._n_calls - 1, text))

    def _put(self, delta: Delta) -> None:
        if self.setting.eager:
            self._out.append(delta)
            self._raw, self._blank = [], ""
        else:
            self._pending.append(delta)

    def _end_call(self) -> None:
        self._out += self._pending
        self._pending, self._in_call = [], False
        self._raw, self._blank = [], ""

    # Text taken

    def _cut(self, n: int) -> str:
        cut, self._text = self._text[:n], self._text[n:]
        self._raw.append(cut)
        return cut

    def _stream(self, marks: Sequence[str], tell: Callable[[str], None]) -> Steps[str | None]:
        """Tell of the text before the first of the marks, which is not cut off; None: the text ended."""
        while True:
            found = [(at, -len(mark), mark) for mark in marks if (at := self._text.find(mark)) >= 0]
            at, _, mark = min(found, default=(len(self._text) - n_held(self._text, marks), 0, None))
            if mark is None and self._is_last:
                at = len(self._text)
            if at:
                tell(self._cut(at))
            if mark is not None or self._is_last:
                return mark
            yield

    def _next(self, *texts: str) -> Steps[str | None]:
        """Which of the texts comes next, the longest, behind white space that is cut off; None for none of them."""
        while True:
            self._cut(len(self._text) - len(self._text.lstrip(BLANKS)))
            if not self._is_last and any(len(t) > len(self._text) and t.startswith(self._text) for t in texts):
                yield
                continue
            return max((t for t in texts if self._text.startswith(t)), key=len, default=None)

    def _maybe(self, *texts: str) -> Steps[str | None]:
        """_next, which is cut off."""
        text = yield from self._next(*texts)
        self._cut(len(text or ""))
        return text

    def _token(self, *texts: str) -> Steps[str]:
        """_maybe, which has to be there."""
        text = yield from self._maybe(*texts)
        if text is None:
            raise Broken
        return text

    def _until(self, *marks: str, most: int = MAX_NAME) -> Steps[str]:
        """Text up to the first of the marks, all cut off but the mark. Raises Broken where it is longer."""
        seen = 0
        while True:
            found = [at for mark in marks if (at := self._text.find(mark, seen)) >= 0]
            if found and min(found) <= most:
                return self._cut(min(found))
            if self._is_last or found or len(self._text) > most + max(map(len, marks)):
                raise Broken
            seen = max(0, len(self._text) - max(map(len, marks)))
            yield

    def _json(self, tell: Callable[[str], None]) -> Steps[None]:
        """Tell of one JSON value."""
        scanner = JsonScanner()
        while not scanner.done:
            n, made = scanner.feed(self._text, self._is_last)
            self._cut(n)
            tell(made)
            if scanner.broken or (self._is_last and not scanner.done):
                raise Broken
            if not scanner.done:
                yield

    def _json_value(self) -> Steps[Any]:
        """One JSON value, whole."""
        parts: list[str] = []
        yield from self._json(parts.append)
        try:
            return json.loads("".join(parts))
        except (ValueError, RecursionError):  # a number of more digits than Python reads
            raise Broken from None
