"""Cases of the op table: one token over long caches, or in parts of few keys; what lies beyond may be anything."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.tensor import Tensor
from .case import Case, Fill, Operand, normal
from .cases_attention import given, sharp_queries

F16, I32 = DType.F16, DType.I32
N_CTX = 2048
HEADS = (8, 1), (16, 2), (12, 3), (16, 1), (10, 2)
DIMS = 64, 128, 256
POSITIONS = (0,), (14,), (15, -1), (16, 126), (128,), (700,)
FEW_CTX, FEW_KEYS, FEW_POSITIONS = 288, 256, ((0,), (15, -1), (31, 200), (254,), (255,))


def _used_to(positions: tuple[int, ...], slots: tuple[int, ...]) -> Fill:
    """Numbers up to the positions, in their slots, and none elsewhere."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        made = np.resize(np.array((np.nan, np.inf, -np.inf), np.float32), shape)
        for pos, slot in zip(positions, slots, strict=True):
            made[slot, : pos + 1] = normal(rng, (pos + 1, shape[-1]))
        return made

    return fill


def _times(size: float) -> Fill:
    return lambda rng, shape: size * normal(rng, shape)


def operands(n_heads: int, n_keys: int, dim: int, positions: tuple[int, ...], n_ctx: int = N_CTX) -> tuple:
    """q, k, v, slots, the last ones first and a few beyond the last, pos."""
    n_seqs = len(positions)
    cache = Operand((n_seqs, n_ctx, n_keys * dim), F16, fill=_used_to(positions, tuple(range(n_seqs))[::-1]))
    slots = given(*(n_seqs - 1 - i if i else n_seqs + 6 for i in range(n_seqs)))
    pos = Operand((n_seqs, 1), I32, fill=given(*positions))
    return Operand((n_seqs, 1, n_heads, dim)), cache, cache, Operand((n_seqs,), I32, fill=slots), pos


def _case(what: str, ins: tuple[Operand, ...], attrs: dict, strided: bool = False) -> Case:
    return Case("attention_split", what, ins, attrs, strided, kept=frozenset(range(1, 5)))


def _inner_octets(t: Tensor) -> Tensor:
    return t.slice(t.ndim - 1, 8, t.shape[-1] - 8)


def _cases() -> Iterator[Case]:
    for i, dim in enumerate(DIMS):
        for j, positions in enumerate(POSITIONS):
            n_heads, n_keys = HEADS[(i + j) % len(HEADS)]
            ins, attrs = operands(n_heads, n_keys, dim, positions), {"scale": dim**-0.5, "n_kv": N_CTX}
            what = f"{n_heads} heads on {n_keys} of {dim}, up to {positions}"
            n = 1 + (i + j) % 2 * 2
            yield _case(f"{what}, {n} parts", ins, attrs | {"n_split": n}, j % 3 != 0)
        q, k, v, *rest = operands(8, 2, dim, (40, 300))
        attrs = {"scale": 0.2, "n_kv": N_CTX, "n_split": 2}
        yield _case(f"dim {dim}, sharp", (sharp_queries(q), k, v, *rest), attrs)
        yield _case(f"dim {dim}, capped", (q, k, v, *rest), attrs | {"cap": 1.3}, True)
        for size in (1e-30, 1e9):
            scaled = attrs | {"scale": 0.2 / size}
            yield _case(f"dim {dim}, queries of {size}", (replace(q, fill=_times(size)), k, v, *rest), scaled)
        wide = (replace(t, shape=(*t.shape[:2], 2 * dim + 16), view=_inner_octets) for t in (k, v))
        yield _case(f"dim {dim}, rows of wider ones", (q, *wide, *rest), attrs, True)
    ins, attrs = operands(8, 1, 64, (N_CTX - 1,)), {"scale": 0.125, "n_kv": N_CTX, "n_split": 100}
    yield _case("a full cache, the last parts without keys", ins, attrs, True)


def _few() -> Iterator[Case]:
    """Parts of at most 32 keys, which kernels may read at once."""
    for i, dim in enumerate(DIMS):
        for j, positions in enumerate(FEW_POSITIONS):
            n_heads, n_keys = (*HEADS, (7, 1))[(2 * i + j) % (len(HEADS) + 1)]
            ins, attrs = operands(n_heads, n_keys, dim, positions, FEW_CTX), {"scale": dim**-0.5, "n_kv": FEW_KEYS}
            n = (8, 16, 100)[(i + j) % 3]
            what = f"{n_heads} heads on {n_keys} of {dim}, up to {positions}, of {FEW_KEYS} keys, {n} parts"
            yield _case(what, ins, attrs | {"n_split": n}, j % 2 == 0)
        q, k, v, *rest = operands(8, 2, dim, (40, 255), FEW_CTX)
        attrs = {"scale": 0.2, "n_kv": FEW_KEYS, "n_split": 8}
        yield _case(f"dim {dim}, few keys, sharp", (sharp_queries(q), k, v, *rest), attrs)
        yield _case(f"dim {dim}, few keys, capped", (q, k, v, *rest), attrs | {"cap": 1.3}, True)
        wide = (replace(t, shape=(*t.shape[:2], 2 * dim + 16), view=_inner_octets) for t in (k, v))
        yield _case(f"dim {dim}, few keys, rows of wider ones", (q, *wide, *rest), attrs, True)


CASES: tuple[Case, ...] = (*_cases(), *_few())
