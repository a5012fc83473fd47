"""Text while it is being generated: whole characters only, and nothing beyond a stop string."""

import codecs
from collections.abc import Iterable

from ..errors import TextError
from .base import Tokenizer


class Detokenizer:
    """Turns tokens into text piece by piece; the pieces joined equal the decoding of all bytes at once.

    Bytes that begin a character wait for its end; invalid ones become U+FFFD as `bytes.decode(errors="replace")` does.
    special: control tokens are text too; shown: those of such texts are.
    """

    def __init__(self, tokenizer: Tokenizer, special: bool = False, shown: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._shown = tokenizer.ids_of(shown)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        special = self._special or token in self._shown
        return self.feed_bytes(self._tokenizer.token_bytes(token, special))

    def feed_bytes(self, data: bytes) -> str:
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What an unfinished character at the end comes to; ready for a new text afterwards."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class StopFinder:
    """Cuts a stream of text at the stop string that is complete first, however the text is divided.

    Text that may yet turn out to begin a stop string is held back until that is known.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        if "" in self._stops:
            raise TextError("stop: an empty string, expected at least one character")
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """The text now certain to be outside any stop string; nothing once one was found."""
        if self.found is not None:
            return ""
        buffer = self._held + text
        # Of the stops in the buffer, the one that ends first; of those that end together, the longest.
        hits = [(start + len(stop), start, stop) for stop in self._stops if (start := buffer.find(stop)) >= 0]
        if hits:
            _, start, self.found = min(hits)
            self._held = ""
            return buffer[:start]
        cut = len(buffer) - n_held(buffer, self._stops)
        self._held = buffer[cut:]
        return buffer[:cut]

    def flush(self) -> str:
        """The text held back, when no more follows."""
        rest, self._held = self._held, ""
        return rest


def n_held(text: str, marks: Iterable[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a mark."""
    marks = tuple(marks)
    longest = max((len(mark) for mark in marks), default=1) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((n for n in sizes if any(mark.startswith(text[-n:]) for mark in marks)), 0)
