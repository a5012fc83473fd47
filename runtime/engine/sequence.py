"""Sequence: one generation as the scheduler sees it: what it read and chose so far, and how it goes on."""

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Ids
from dataclasses import dataclass

from ..errors import UsageError
from ..text.sampler import SamplerSettings
from .chain import Beginning
from .choice import Constraint, TokenChoice
from .slots import Seat

N_AHEAD = 32  # chosen tokens that may wait for their reader


@dataclass
class Timings:
    """Tokens and seconds of one generation; `n_cached` prompt tokens needed no work. `ended`: why it stopped."""

    n_prompt: int = 0
    n_cached: int = 0
    prompt_s: float = 0.0
    n_generated: int = 0
    generate_s: float = 0.0
    ended: str = ""  # "token", "stop", "length", "context", "stopped", "error"

    @property
    def prompt_rate(self) -> float:
        return (self.n_prompt - self.n_cached) / self.prompt_s if self.prompt_s else 0.0

    @property
    def rate(self) -> float:
        return self.n_generated / self.generate_s if self.generate_s else 0.0


class Sequence:
    """`ids`: the prompt and the tokens chosen since; `out`: those of them that nobody has read yet.

    limit: tokens to choose, after which it has ended as `at_limit` says. ends: tokens that end it and are not passed
    on. marks: positions of the prompt at which a later one may part from it. n_logprobs, constraint: as TokenChoice's.
    cache_prompt: may it go on from what others left? One thread, the one that drives the scheduler, changes it; any
    thread may end it and take from `out`.
    """

    def __init__(
        self,
        ids: Ids[int],
        settings: SamplerSettings,
        limit: int,
        ends: frozenset[int] = frozenset(),
        marks: Ids[int] = (),
        at_limit: str = "length",
        n_logprobs: int | None = None,
        cache_prompt: bool = True,
        constraint: Constraint | None = None,
    ) -> None:
        if not ids:
            raise UsageError("prompt: empty, expected at least one token")
        self.ids, self.cache_prompt = list(ids), cache_prompt
        self.choice = TokenChoice(settings, n_logprobs, constraint)
        self.prompt = Beginning(tuple(ids))
        self.limit, self.ends, self.at_limit = limit, ends, at_limit
        self.marks = [*marks, len(self.ids) - 1]
        self.approach = -1  # where on the way to a mark the latest short chunk left a checkpoint
        self.out: deque[int] = deque()
        self.seat: Seat | None = None
        self.n_chosen = 0
        self.error: Exception | None = None
        self.on_read: Callable[[int], None] | None = None  # told how many tokens of the prompt are read
        self.timings = Timings(n_prompt=len(self.ids))
        self._began = self._prompted = 0.0

    @property
    def ended(self) -> str:
        return self.timings.ended

    @property
    def goes_on(self) -> bool:
        """May it take part in the next step?"""
        return not self.ended and len(self.out) < N_AHEAD

    @property
    def n_read(self) -> int:
        """Tokens whose keys and states stand in its slots."""
        return len(self.seat.cache.ids) if self.seat else 0

    @property
    def n_unread(self) -> int:
        return len(self.ids) - self.n_read

    @property
    def n_left(self) -> int:
        """Tokens that it may still choose."""
        return self.limit - self.n_chosen

    @property
    def n_uncheckpointed(self) -> int:
        """Tokens since its last checkpoint; 0 where it needs none."""
        if self.seat is None or self.seat.state < 0:
            return 0
        return self.n_read - max((c.pos for c in self.seat.cache.checkpoints), default=0)

    def begin(self, seat: Seat) -> None:
        """Take a seat, for the first time or after a pause."""
        self.seat = seat
        if not self._began:
            self._began, self.timings.n_cached = time.perf_counter(), seat.n_kept
            self.marks.append(seat.n_shared)

    def read(self, n: int) -> None:
        """The next n tokens stand in its slots now."""
        assert self.seat is not None
        self.seat.cache.add(self.ids[self.n_read : self.n_read + n])
        if self.on_read and not self.n_chosen:
            self.on_read(self.n_read)
        if not self.n_unread and not self.limit:
            self._prompt_read()
            self.end(self.at_limit)

    def take(self, token: int) -> None:
        """Go on with a token that was chosen."""
        self._prompt_read()
        self.ids.append(token)
        self.timings.generate_s = time.perf_counter() - self._prompted
        if token in self.ends:
            self.end("token")
            return
        self.n_chosen += 1
        self.out.append(token)  # before the end, which tells readers that no more comes
        if self.choice.accept(token):
            self.end("token")
        elif self.n_chosen == self.limit:
            self.end(self.at_limit)

    def end(self, why: str, error: Exception | None = None) -> None:
        if not self.ended:
            self.error, self.timings.ended = error, why

    def _prompt_read(self) -> None:
        if not self._prompted:
            self._prompted = time.perf_counter()
            self.timings.prompt_s = self._prompted - self._began
