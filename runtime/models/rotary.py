"""A file's rotary embedding: its base, factors and scaling."""

from collections.abc import Callable

import numpy as np

from .blocks.rope import Rope, make_rope, plain, yarn, yarn_magnitude
from .hyper import Hyper
from .weights import Weights

FACTORS, FACTORS_SHORT, FACTORS_LONG = (f"rope_{name}.weight" for name in ("freqs", "factors_short", "factors_long"))
SCALINGS = ("none", "linear", "yarn", "longrope")
ORIGINAL = "rope.scaling.original_context_length"
LOG_MULTIPLIER = "rope.scaling.yarn_log_multiplier"
TURNS = ("fast", 32.0), ("slow", 1.0)  # of yarn, where no key says it

Numbers = Callable[[], np.ndarray]


def read_rope(
    h: Hyper, weights: Weights, n_ctx: int, n_dims: int, neighbours: bool, magnitude: float | None = None
) -> Rope:
    """The rotary embedding of layers that see all keys. magnitude: of yarn where the family knows it better than the
    keys. Raises ModelError for a scaling that is not known, which would change every result."""
    base, (kind, factor) = h.get_float("rope.freq_base", 10000.0, lo=1.0), read_scaling(h)
    factors = _factors(h, weights, n_ctx, n_dims)
    frequencies, made = plain(n_dims, base, factor), h.get_float("rope.scaling.attn_factor", 1.0, lo=1e-6, hi=1e6)
    if kind == "yarn":
        original = n_ctx_original(h)
        fast, slow = (h.get_float(f"rope.scaling.yarn_beta_{k}", one, lo=0) for k, one in TURNS)
        share = h.get_float("rope.scaling.yarn_ext_factor", 1.0, lo=0, hi=1)
        frequencies = yarn(n_dims, base, factor, original, fast, slow, share)
        made = _magnitude(h, factor) if magnitude is None else magnitude
    return make_rope(weights, n_ctx, n_dims, lambda: frequencies / factors(), neighbours, made)


def read_sliding_rope(
    h: Hyper, weights: Weights, n_ctx: int, n_dims: int, neighbours: bool, base: float | None
) -> Rope:
    """That of layers with a window, which no scaling reaches. base: where no key says it, by default as without one."""
    base = h.get_float("rope.freq_base", 10000.0, lo=1.0) if base is None else base
    base = h.get_float("rope.freq_base_swa", base, lo=1.0)
    return make_rope(weights, n_ctx, n_dims, lambda: plain(n_dims, base), neighbours, name="rope_swa")


def read_scaling(h: Hyper) -> tuple[str, float]:
    """What kind of scaling there is, and its factor; 1 where its kind has none."""
    kind = h.get_str("rope.scaling.type", "linear")
    h.require(kind in SCALINGS, "rope.scaling.type", kind, " or ".join(SCALINGS))
    if kind not in ("linear", "yarn"):
        return kind, 1.0
    older = h.get_float("rope.scale_linear", 0.0, lo=0, hi=1e6)
    return kind, h.get_float("rope.scaling.factor", older, lo=0, hi=1e6) or 1.0


def n_ctx_original(h: Hyper) -> int:
    """Tokens that the model had seen at once before its context was stretched."""
    return h.get_int(ORIGINAL, h.get_int("context_length", hi=1 << 30), hi=1 << 30)


def _factors(h: Hyper, weights: Weights, n_ctx: int, n_dims: int) -> Numbers:
    """By what frequencies are divided: longrope's have two lists, one for contexts longer than the original one."""
    if weights.has(FACTORS):
        return weights.numbers(FACTORS, (n_dims // 2,))
    if weights.has(FACTORS_SHORT) or weights.has(FACTORS_LONG):
        short, long = (weights.numbers(name, (n_dims // 2,)) for name in (FACTORS_SHORT, FACTORS_LONG))
        return long if n_ctx > n_ctx_original(h) else short
    missing = h.get_str("rope.scaling.type", "linear") == "longrope"
    h.require(not missing, "rope.scaling.type", "longrope", f"{FACTORS_SHORT} and {FACTORS_LONG} beside it")
    return lambda: np.ones(n_dims // 2)


def _magnitude(h: Hyper, factor: float) -> float:
    """Of yarn: as a key gives it, else by its formula."""
    made = yarn_magnitude(factor, h.get_float(LOG_MULTIPLIER, 0.0))
    given = h.get_float("rope.scaling.attn_factor", 0.0, lo=0, hi=1e6)
    return h.get_float("rope.scaling.yarn_attn_factor", given, lo=0, hi=1e6) or made
