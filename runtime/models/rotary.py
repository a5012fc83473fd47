"""A file's rotary embedding: its base, factors and scaling."""

import numpy as np

from .blocks.rope import Rope, make_rope, plain, yarn, yarn_magnitude
from .hyper import Hyper
from .weights import Weights

FACTORS = "rope_freqs.weight"
SCALINGS = ("none", "linear", "yarn")


def read_rope(h: Hyper, weights: Weights, n_ctx: int, n_dims: int, neighbours: bool) -> Rope:
    """Raises ModelError for a scaling that is not known, which would change every result."""
    base, kind = h.get_float("rope.freq_base", 10000.0, lo=1.0), h.get_str("rope.scaling.type", "none")
    h.require(kind in SCALINGS, "rope.scaling.type", kind, " or ".join(SCALINGS))
    factors = weights.numbers(FACTORS, (n_dims // 2,)) if weights.has(FACTORS) else lambda: np.ones(n_dims // 2)
    factor = h.get_float("rope.scaling.factor", 1.0, lo=1e-6, hi=1e6) if kind != "none" else 1.0
    if kind == "yarn":
        original = h.get_int("rope.scaling.original_context_length", hi=1 << 30)
        turns = (
            h.get_float(f"rope.scaling.yarn_beta_{end}", one, lo=0) for end, one in (("fast", 32.0), ("slow", 1.0))
        )
        frequencies, magnitude = yarn(n_dims, base, factor, original, *turns), _magnitude(h, factor)
    else:
        frequencies, magnitude = plain(n_dims, base, factor), 1.0
    return make_rope(weights, n_ctx, n_dims, lambda: frequencies / factors(), neighbours, magnitude)


def _magnitude(h: Hyper, factor: float) -> float:
    return yarn_magnitude(factor, h.get_float("rope.scaling.yarn_log_multiplier", 0.0))
