"""likely: the sizes of steps that serving will want, the likeliest first."""

from collections.abc import Iterator

from ..ir.composites.slots import SPAN
from ..models.architecture import Architecture
from ..models.step import StepShape
from .ahead import Ahead
from .decode import batch_size, few_sizes
from .engine import Engine
from .sizes import BESIDE_OTHERS, StepSizes
from .ways import shape_of

FIRST_KEYS = 1024  # which fewer stand in for, see at_hand.py
SEVERAL = 4, 16  # prompts that are read at once
SEVERAL_BESIDE = (16, 16), (4, 256), (4, 128), (32, 16), (4, 64), (4, 16)  # prompts, and tokens of each, beside others
MOST, AT_ONCE = 68, 48  # sizes, and those that are planned whatever else is done


def likely(model: Architecture, sizes: StepSizes) -> list[StepShape]:
    """Decoding, prompts alone and prompts beside others, over keys as at the begin of a text; then with more keys."""
    room, found, n_kv = model.capacity, [], FIRST_KEYS
    while model.causal and len(found) < MOST:
        found += _over(model, sizes, min(n_kv, room.n_ctx))
        if n_kv >= room.n_ctx:
            break
        n_kv *= 4
    return found[:MOST]


def foresee(engine: Engine) -> Ahead:
    """Who plans beside the steps what these will want. What is likely is planned by itself, the last of it while nobody
    is served, but on CPUs, whose steps that would slow."""
    found = [] if engine.device.info.is_software else likely(engine.model, engine.sizes)
    return Ahead(engine, found[:AT_ONCE], found[AT_ONCE:])


def _over(model: Architecture, sizes: StepSizes, n_kv: int) -> Iterator[StepShape]:
    """In one number of keys."""
    n_seqs = model.capacity.n_caches
    batches = [n for n in range(2, n_seqs + 1) if n & (n - 1) == 0 or n == n_seqs]
    few = list(dict.fromkeys(few_sizes(n) for n in range(1, n_seqs)))
    alone = [s for s in sizes.sizes if 1 < s <= n_kv]
    yield shape_of(model, n_kv, (1, 1))
    yield from (shape_of(model, n_kv, (1, s)) for s in reversed(alone))
    yield from (shape_of(model, n_kv, (batch_size(n), 1)) for n in reversed(batches))
    yield from (shape_of(model, n_kv, (n, s)) for s in alone for n in SEVERAL if s >= SPAN and n * s <= sizes.most)
    beside = [s for s in sizes.beside(BESIDE_OTHERS).sizes if 1 < s <= n_kv]
    yield from (shape_of(model, n_kv, (1, s), (n, 1)) for s in reversed(beside) for n in few)
    several = [(n, s) for n, s in SEVERAL_BESIDE if n <= few_sizes(n_seqs) and s <= n_kv]
    yield from (shape_of(model, n_kv, way, (n, 1)) for way in several for n in few if n > 1)
