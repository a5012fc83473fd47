"""Reads one JSON value out of text that comes in pieces, and says where it ends or breaks."""

import re
from collections.abc import Callable

MAX_DEPTH = 128
_RUN = re.compile(r'[^"\\\x00-\x1f]*')
_BLANK = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")
_SCALARS = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)\Z")
_ESCAPES, _HEX = frozenset('"\\/bfnrtu'), frozenset("0123456789abcdefABCDEF")
_CLOSED_BY = {"{": "}", "[": "]"}
MAX_SCALAR = 400

Step = Callable[
    [str, int], tuple[int, str]
]  # text and a place in it -> the place behind what is taken, what it comes to


class JsonScanner:
    """`done` behind the value's last character; `broken` at one that no JSON has there, which is not taken.

    Control characters inside strings, which JSON wants escaped and models write as they are, come out escaped.
    """

    def __init__(self) -> None:
        self.done = self.broken = False
        self._stack: list[str] = []
        self._want: Step = self._value
        self._escape, self._is_key = "", False
        self._waits = self._final = False

    def feed(self, text: str, final: bool = False) -> tuple[int, str]:
        """How many characters are taken of `text`, and what they come to. The rest has to come again, with what follows
        it; final: nothing does."""
        at, out, self._waits, self._final = 0, [], False, final
        while at < len(text) and not (self.done or self.broken or self._waits):
            at, made = self._want(text, at)
            out.append(made)
        return at, "".join(out)

    def _value(self, text: str, at: int) -> tuple[int, str]:
        first = text[at]
        if first in " \t\n\r":
            return self._blank(text, at)
        if first in _CLOSED_BY:
            self._stack.append(first)
            self._want = self._key_or_end if first == "{" else self._value_or_end
            self.broken = len(self._stack) > MAX_DEPTH
        elif first == '"':
            self._want, self._is_key = self._in_string, False
        else:
            return self._scalar(text, at)
        return (at, "") if self.broken else (at + 1, first)

    def _value_or_end(self, text: str, at: int) -> tuple[int, str]:
        return self._close(text, at) if text[at] == "]" else self._value(text, at)

    def _key_or_end(self, text: str, at: int) -> tuple[int, str]:
        return self._close(text, at) if text[at] == "}" else self._key(text, at)

    def _key(self, text: str, at: int) -> tuple[int, str]:
        if text[at] == '"':
            self._is_key = True
        return self._one(text, at, '"', self._in_string)

    def _colon(self, text: str, at: int) -> tuple[int, str]:
        return self._one(text, at, ":", self._value)

    def _comma_or_end(self, text: str, at: int) -> tuple[int, str]:
        if text[at] == _CLOSED_BY[self._stack[-1]]:
            return self._close(text, at)
        return self._one(text, at, ",", self._key if self._stack[-1] == "{" else self._value)

    def _one(self, text: str, at: int, wanted: str, then: "Step") -> tuple[int, str]:
        if text[at] in " \t\n\r":
            return self._blank(text, at)
        if text[at] != wanted:
            self.broken = True
            return at, ""
        self._want = then
        return at + 1, wanted

    def _blank(self, text: str, at: int) -> tuple[int, str]:
        match = _BLANK.match(text, at)
        assert match is not None
        return match.end(), match[0]

    def _close(self, text: str, at: int) -> tuple[int, str]:
        self._stack.pop()
        self._after_value()
        return at + 1, text[at]

    def _after_value(self) -> None:
        self.done, self._want = not self._stack, self._comma_or_end

    def _in_string(self, text: str, at: int) -> tuple[int, str]:
        if self._escape:
            return self._in_escape(text, at)
        if text[at] == '"':
            if self._is_key:
                self._is_key, self._want = False, self._colon
            else:
                self._after_value()
            return at + 1, '"'
        if text[at] == "\\":
            self._escape = "\\"
            return at + 1, "\\"
        if text[at] < " ":
            return at + 1, _escaped(text[at])
        match = _RUN.match(text, at)
        assert match is not None
        return match.end(), match[0]

    def _in_escape(self, text: str, at: int) -> tuple[int, str]:
        allowed = _ESCAPES if len(self._escape) == 1 else _HEX
        if text[at] not in allowed:
            self.broken = True
            return at, ""
        self._escape += text[at]
        if len(self._escape) == (6 if self._escape[1] == "u" else 2):
            self._escape = ""
        return at + 1, text[at]

    def _scalar(self, text: str, at: int) -> tuple[int, str]:
        """A number or a name, taken when its end is seen."""
        match = _SCALAR.match(text, at)
        assert match is not None
        if match.end() == len(text) and not self._final and match.end() - at <= MAX_SCALAR:
            self._waits = True
        elif _SCALARS.match(match[0]):
            self._after_value()
            return match.end(), match[0]
        else:
            self.broken = True
        return at, ""


def _escaped(control: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(control, f"\\u{ord(control):04x}")
