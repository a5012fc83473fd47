"""A file's attention heads and windows, by layer."""

from dataclasses import dataclass

from .hyper import Hyper


@dataclass(frozen=True)
class Heads:
    """n heads of queries on n_kv of keys, of `dim` values each; those of what is attended to have `dim_v`."""

    n: int
    n_kv: int
    dim: int
    dim_v: int


def read_heads(h: Hyper, n_layers: int, width: int, windows: tuple[int, ...]) -> tuple[Heads, ...]:
    """Sizes of layers with a window may have keys of their own. Raises ModelError for heads that do not divide."""
    n_heads = h.get_ints("attention.head_count", n_layers, hi=4096)
    h.require(max(n_heads) > 0, "attention.head_count", 0, "at least 1")
    n_heads_kv = h.get_ints("attention.head_count_kv", n_layers, 0, hi=4096)
    dim = h.get_int("attention.key_length", width // max(n_heads), hi=4096)
    dim_v = h.get_int("attention.value_length", dim, hi=4096)
    swa = h.get_int("attention.key_length_swa", dim, hi=4096), h.get_int("attention.value_length_swa", dim_v, hi=4096)
    made = []
    for n, n_kv, window in zip(n_heads, n_heads_kv, windows, strict=True):
        n_kv = n_kv or n
        h.require(n % n_kv == 0, "attention.head_count_kv", n_kv, f"a divisor of {n}")
        made.append(Heads(n, n_kv, *(swa if window else (dim, dim_v))))
    return tuple(made)


def read_attends(h: Hyper, n_layers: int) -> tuple[bool, ...]:
    """Which layers attend, where others have something else in its place: those with heads of keys."""
    return tuple(n > 0 for n in h.get_ints("attention.head_count_kv", n_layers, 1, hi=4096))


def read_windows(h: Hyper, n_layers: int, period: int, default: int) -> tuple[int, ...]:
    """How many keys each layer sees, 0 for all of them.

    A list says which layers have the window, or a period n: all but each n-th (0: all). period, default: of the
    family, where no key says it.
    """
    window, pattern = h.get_int("attention.sliding_window", default, lo=0, hi=1 << 30), "sliding_window_pattern"
    key = f"attention.{pattern}"
    if h.has(key) and h.file.types[h.key(key)].startswith("array"):
        slides = h.file.get_bools(h.key(key), length=n_layers).tolist()
    else:
        period = h.get_int(key, period, lo=0, hi=4096)
        slides = [not period or i % period < period - 1 for i in range(n_layers)]
    return tuple(window if slide else 0 for slide in slides)
