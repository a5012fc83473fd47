"""Worth: is a copy on the host, which all wait for, made and brought back sooner than tokens are read again?"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LEAST = 1 << 20  # bytes of a copy, of fewer little can be told
OUT_AND_BACK = 2
SLOWER = 1.02  # times as long a byte is thought to take after a copy at most
HOPE = 0.999  # with each copy that is not made, so that one is tried some time


class Worth:
    """Learns what bytes take on their way to the host, by the quickest of the latest copies. Says yes while that or
    the rate of prompts is not known."""

    def __init__(self) -> None:
        self.rereads: Callable[[int], float | None] = lambda _n: None  # seconds for so many tokens
        self._a_byte, self._hope = 0.0, 1.0  # seconds

    def timed(self, nbytes: int, copy: Callable[[], T]) -> T:
        """A copy of so many bytes."""
        start = time.perf_counter()
        made = copy()
        if nbytes >= LEAST:
            seen = (time.perf_counter() - start) / nbytes
            self._a_byte, self._hope = min(seen, SLOWER * self._a_byte or seen), 1.0
        return made

    def is_worth(self, n_tokens: int, nbytes: int) -> bool:
        """Are these bytes a shorter way to where so many tokens more are read?"""
        rereads = self.rereads(n_tokens)
        is_worth = rereads is None or rereads >= OUT_AND_BACK * self._a_byte * self._hope * nbytes
        self._hope *= 1.0 if is_worth else HOPE
        return is_worth
