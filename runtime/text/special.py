"""Cuts text at special tokens: the leftmost one first, the longest where several begin at one place."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]  # [start, end) in characters
BLANKS = " \t\n\v\f\r"


class SpecialSplitter:
    """Finds the given token texts. One dictionary look-up per place and length, however many tokens there are.

    lstrip, rstrip: tokens that swallow the white space before or behind them.
    """

    def __init__(
        self,
        texts: Iterable[tuple[str, int]],
        lstrip: frozenset[int] = frozenset(),
        rstrip: frozenset[int] = frozenset(),
    ) -> None:
        self._ids = {text: token for text, token in texts if text}
        self._lstrip, self._rstrip = lstrip, rstrip
        lengths: dict[str, set[int]] = {}
        for text in self._ids:
            lengths.setdefault(text[0], set()).add(len(text))
        self._lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        self._first = re.compile("[" + re.escape("".join(self._lengths)) + "]") if lengths else None

    def split(self, text: str, plain: Sequence[Span] = ()) -> Iterator[str | int]:
        """Yields plain strings and token ids in order; no token is seen where it would touch a span of `plain`."""
        done, strips = 0, False
        for start, end in self.find(text, plain):
            token = self._ids[text[start:end]]
            yield from _between(text[done:start], strips, token in self._lstrip)
            yield token
            done, strips = end, token in self._rstrip
        yield from _between(text[done:], strips, False)

    def find(self, text: str, plain: Sequence[Span] = ()) -> Iterator[Span]:
        """Spans of the tokens in `text`; `plain` is sorted and its spans do not overlap."""
        if self._first is None:
            return
        spans, ends, place = list(plain), [end for _, end in plain], 0
        while (hit := self._first.search(text, place)) is not None:
            start = hit.start()
            size = self._longest(text, start, spans, ends)
            if size:
                yield start, start + size
            place = start + (size or 1)

    def _longest(self, text: str, start: int, spans: list[Span], ends: list[int]) -> int:
        for size in self._lengths[text[start]]:
            if text[start : start + size] in self._ids and not _touches(start, start + size, spans, ends):
                return size
        return 0


def _between(text: str, left: bool, right: bool) -> Iterator[str]:
    """What two tokens leave of the text between them, where anything is left."""
    text = text.lstrip(BLANKS) if left else text
    if text := text.rstrip(BLANKS) if right else text:
        yield text


def _touches(start: int, end: int, spans: list[Span], ends: list[int]) -> bool:
    i = bisect_left(ends, start + 1)
    return i < len(spans) and spans[i][0] < end
