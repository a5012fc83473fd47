"""What is benchmarked: tests, and the settings of the engine that each is run with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from ..arguments import DEFAULT_CACHE_TYPE
from ..engine.sizes import sizes_for
from .measure import Test

N_BATCH, N_UBATCH = 2048, 0
CONTEXT_STEP = 256  # contexts are a multiple of it


@dataclass(frozen=True)
class Setting:
    """n_batch: most tokens of a prompt handed over at once; n_ubatch: most of a planned step, n_batch permitting, 0 for
    what suits the device."""

    opt: int = 3
    replay: bool = True
    n_batch: int = N_BATCH
    n_ubatch: int = N_UBATCH

    def n_planned(self, is_software: bool) -> int:
        """Most tokens of a planned step."""
        return min(self.n_batch, self.n_ubatch or sizes_for(is_software).most)

    @property
    def is_default_size(self) -> bool:
        return (self.n_batch, self.n_ubatch) == (N_BATCH, N_UBATCH)


@dataclass(frozen=True)
class Wanted:
    """The command line's lists, of which every combination is run."""

    n_prompt: Sequence[int] = (512,)
    n_gen: Sequence[int] = (128,)
    n_pg: Sequence[tuple[int, int]] = ()
    n_depth: Sequence[int] = (0,)
    n_batch: Sequence[int] = (N_BATCH,)
    n_ubatch: Sequence[int] = (N_UBATCH,)
    n_seqs: Sequence[int] = (1,)
    opts: Sequence[int] = (3,)
    types_k: Sequence[str] = (DEFAULT_CACHE_TYPE,)
    types_v: Sequence[str] = (DEFAULT_CACHE_TYPE,)
    no_replay: bool = False
    n_runs: int = 5
    warmup: bool = True
    profile: bool = False
    formats: tuple[str, str] = field(default=("md", "none"))

    def tests(self) -> Iterator[Test]:
        """In llama-bench's order; a 0 leaves a kind out."""
        for n_depth in self.n_depth:
            yield from (Test(n, 0, n_depth) for n in self.n_prompt if n)
            yield from (Test(0, n, n_depth, n_seqs) for n in self.n_gen if n for n_seqs in self.n_seqs)
            yield from (Test(p, g, n_depth) for p, g in self.n_pg if p or g)

    def cache_types(self) -> list[dict[str, str]]:
        """Keywords of load(), for each of which the model is loaded anew."""
        return [{"cache_type_k": k, "cache_type_v": v} for k, v in product(self.types_k, self.types_v)]

    def settings(self) -> list[Setting]:
        """Levels innermost, so that those of one test run one after the other."""
        replays = (False, True) if self.no_replay else (True,)
        each = product(self.n_ubatch, self.n_batch, replays, self.opts)
        return [Setting(opt, replay, n_batch, n_ubatch) for n_ubatch, n_batch, replay, opt in each]

    def varied(self) -> list[str]:
        """Columns to show: what is run with several values, or one that is not the default."""
        lists: dict[str, tuple[Sequence[object], object]] = {
            "n_batch": (self.n_batch, N_BATCH),
            "n_ubatch": (self.n_ubatch, N_UBATCH),
            "opt": (self.opts, 3),
        }
        lists |= {f"type_{x}": (of, DEFAULT_CACHE_TYPE) for x, of in (("k", self.types_k), ("v", self.types_v))}
        columns = [name for name, (values, default) in lists.items() if set(values) != {default}]
        return columns + ["replay"] * self.no_replay

    @property
    def n_ctx(self) -> int:
        needed = max((t.n_ctx for t in self.tests()), default=0)
        return max(1, -(-needed // CONTEXT_STEP)) * CONTEXT_STEP
