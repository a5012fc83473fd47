"""What a benchmark runs: prompts, generations, both, at a depth, and several sequences side by side."""

import time
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

import numpy as np

from ..engine.decode import decode
from ..engine.engine import Engine
from ..models.step import Chunk
from ..text.sampler import SamplerSettings

GREEDY = SamplerSettings(temp=0, seed=0)
VARIED = SamplerSettings(temp=1e6, top_k=40, top_p=1, min_p=0)


@dataclass(frozen=True)
class Test:
    """n_prompt tokens of prompt, then n_gen of generation, after n_depth tokens that are not timed, in n_seqs
    sequences side by side (of which llama-bench knows one)."""

    n_prompt: int
    n_gen: int
    n_depth: int = 0
    n_seqs: int = 1

    @property
    def name(self) -> str:
        """As llama-bench names it: pp512, tg128, pp512+tg128, pp512 @ d1024; x4 for four sequences."""
        parts = [f"{kind}{n}" for kind, n in (("pp", self.n_prompt), ("tg", self.n_gen)) if n]
        name = "+".join(parts) + (f" @ d{self.n_depth}" if self.n_depth else "")
        return name + (f" x{self.n_seqs}" if self.n_seqs > 1 else "")

    @property
    def n_ctx(self) -> int:
        return self.n_depth + self.n_prompt + self.n_gen

    @property
    def n_tokens(self) -> int:
        return (self.n_prompt + self.n_gen) * self.n_seqs


@dataclass
class Measured:
    """Nanoseconds of each run of a test."""

    test: Test
    samples_ns: list[int] = field(default_factory=list)
    started: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @property
    def samples_ts(self) -> list[float]:
        """Tokens a second, a figure a run."""
        return [self.test.n_tokens * 1e9 / ns for ns in self.samples_ns]

    @property
    def avg_ts(self) -> float:
        return fmean(self.samples_ts)

    @property
    def stddev_ts(self) -> float:
        return deviation(self.samples_ts)


def deviation(samples: list[float]) -> float:
    return stdev(samples) if len(samples) > 1 else 0.0


def run(engine: Engine, test: Test) -> int:
    """Nanoseconds that a test takes.

    Prompts are random tokens; generation goes on from one token as it does for a user: each next token is drawn on the
    device and comes back to the host. A sequence alone takes the likeliest; several take any of some likely ones, each
    by a seed of its own: those that say the same would share the experts they read.
    """
    ids = np.random.default_rng(0).integers(0, engine.model.params.n_vocab, (test.n_seqs, test.n_ctx)).tolist()
    for slot in range(test.n_seqs):
        engine.reset(slot)
        _prompt(engine, slot, 0, ids[slot][: test.n_depth])
    start = time.perf_counter_ns()
    for slot in range(test.n_seqs):
        _prompt(engine, slot, test.n_depth, ids[slot][test.n_depth : test.n_depth + test.n_prompt])
    if test.n_gen:
        _generate(engine, test, [row[test.n_depth + test.n_prompt] for row in ids])
    return time.perf_counter_ns() - start


def _prompt(engine: Engine, slot: int, pos: int, ids: list[int]) -> None:
    if ids:
        engine.prompt(slot, pos, ids)


def _generate(engine: Engine, test: Test, first: list[int]) -> None:
    """n_gen steps from one token a sequence; without replay each step plans for itself."""
    pos, left, tokens = test.n_depth + test.n_prompt, test.n_gen, first
    settings = [GREEDY] if test.n_seqs == 1 else [replace(VARIED, seed=slot) for slot in range(test.n_seqs)]
    while left:
        n = left if engine.replay else 1
        chunks = [Chunk(slot, pos, (token,)) for slot, token in enumerate(tokens)]
        for drawn in decode(engine, chunks, settings, n):
            tokens = drawn.tolist()
        pos, left = pos + n, left - n
