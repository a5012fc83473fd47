"""Generation: prompt in, tokens and text out, one at a time."""

import time
from collections.abc import Iterator
from collections.abc import Sequence as Ids
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..text.base import Tokenizer
from ..text.sampler import Sampler
from ..text.stream import Detokenizer, StopFinder
from .drawing import can_draw
from .sequence import Sequence


@dataclass
class Timings:
    """Tokens and seconds of one generation; `n_cached` prompt tokens needed no work. `ended`: why it stopped."""

    n_prompt: int = 0
    n_cached: int = 0
    prompt_s: float = 0.0
    n_generated: int = 0
    generate_s: float = 0.0
    ended: str = ""  # "token", "stop", "length", "context"

    @property
    def prompt_rate(self) -> float:
        return (self.n_prompt - self.n_cached) / self.prompt_s if self.prompt_s else 0.0

    @property
    def rate(self) -> float:
        return self.n_generated / self.generate_s if self.generate_s else 0.0


def generate_ids(
    sequence: Sequence,
    prompt: Ids[int],
    sampler: Sampler,
    max_tokens: int | None,
    ends: frozenset[int],
    timings: Timings,
) -> Iterator[int]:
    """Token ids after the prompt, until one of `ends`, max_tokens (None: no limit) or the context's end."""
    if not prompt:
        raise UsageError("prompt: no tokens, expected at least 1")
    timings.n_prompt, timings.n_cached = len(prompt), sequence.n_kept(prompt)
    before = time.perf_counter()
    logits = sequence.become(prompt)
    start = time.perf_counter()
    timings.prompt_s = start - before
    limit = min(sequence.room + 1, max_tokens if max_tokens is not None else sequence.room + 1)
    for token in _tokens(sequence, sampler, logits, limit):
        timings.generate_s = time.perf_counter() - start
        if token in ends:
            timings.ended = "token"
            return
        timings.n_generated += 1
        yield token
    timings.ended = "length" if limit == max_tokens else "context"


def _tokens(sequence: Sequence, sampler: Sampler, logits: np.ndarray, limit: int) -> Iterator[int]:
    """At most `limit` tokens, chosen on the device where it can, else on the host."""
    if not limit:
        return
    token = sampler.sample(logits, sequence.ids)
    yield token
    if can_draw(sampler.settings):
        if limit > 1:
            yield from sequence.draw(token, sampler.settings, limit - 1)
        return
    for _ in range(limit - 1):
        token = sampler.sample(sequence.extend_one(token), sequence.ids)
        yield token


def generate_text(ids: Iterator[int], tokenizer: Tokenizer, stops: Ids[str], timings: Timings) -> Iterator[str]:
    """Pieces of text for a stream of ids: whole characters only, cut before the first stop string."""
    detokenizer, finder = Detokenizer(tokenizer), StopFinder(stops)
    for token in ids:
        if piece := finder.feed(detokenizer.feed(token)):
            yield piece
        if finder.found:
            timings.ended = "stop"
            return
    if piece := finder.feed(detokenizer.flush()) + finder.flush():
        yield piece
