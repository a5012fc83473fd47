"""What the judges hear: the op table's cases of an op, and some of ops that no backend is asked for as a whole."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.layout import Shape
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.optable import cases_prompts
from vkrun.runtime.optable.case import Case, Operand, integers, uniform
from vkrun.runtime.optable.cases_attention import sized_operands
from vkrun.runtime.optable.table import CASES

from .trial import Trial, opened


def _moe_ffn(what: str, n: int, width: int, hidden: tuple[int, int], n_experts: int, k: int, dtype: DType) -> Case:
    """hidden: of an expert, of the shared one."""
    experts = ((n_experts, hidden[0], width),) * 2 + ((n_experts, width, hidden[0]),)
    shared = ((hidden[1], width),) * 2 + ((width, hidden[1]), (1, width))
    weights = (Operand(shape, dtype) for shape in (*experts, *shared[:3]))
    operands = (Operand((n, width)), Operand((n, n_experts)), *weights, Operand(shared[3]))
    return Case("moe_ffn", what, operands, {"k": k, "extra": SHARED})


def _moe_ways(n: int, width: int, hidden: int, n_experts: int, k: int) -> Iterator[Case]:
    """What families vary."""
    first = ((n, width), (n, n_experts), *((n_experts, hidden, width),) * 2, (n_experts, width, hidden))
    shapes = {"bias": (n_experts,), "gate_bias": (n_experts, hidden), "up_bias": (n_experts, hidden)}
    shapes |= {"down_bias": (n_experts, width), "factors": (n_experts,), "shared_in": (1, width)}
    shapes |= dict.fromkeys(SHARED[:2], (5, width)) | {"shared_down": (width, 5)}
    for way in MOE_WAYS:
        named = tuple(Operand(shapes[name], fill=uniform(-1, 1)) for name in way.get("extra", ()))
        yield Case("moe_ffn", f"{way}", (*map(Operand, first), *named), {"k": k, **way})


LARGE = 50_000  # elements of a case
PROMPTS = frozenset(map(id, cases_prompts.CASES))
SHARED = ("shared_gate", "shared_up", "shared_down", "shared_in")
MOE_WAYS: tuple[dict, ...] = (
    {"score": "sigmoid", "extra": ("bias",), "scale": 2.5, "n_groups": 3, "n_groups_used": 2},
    {"score": "sigmoid", "normalise": False, "extra": SHARED[:3]},
    {"normalise": False, "activation": "gelu", "extra": ("factors",)},
    {"activation": "clamped", "extra": ("gate_bias", "up_bias", "down_bias")},
    {"extra": ("bias", *SHARED), "scale": 0.5},
)


def _with_lists() -> Iterator[Case]:
    """Products of experts that are given lists, which say once more what ids say: here nothing of use."""
    ids, lists = (
        Operand((7, 3), DType.I32, fill=integers(-2, 7)),
        Operand((5 + 1 + 21,), DType.I32, fill=integers(0, 9)),
    )
    for dtype in (DType.F32, DType.Q8_0):
        w = Operand((5, 9, 64), dtype)
        for n_rows in (1, 3):
            x = Operand((7, n_rows, 64))
            what = f"{dtype.name}, {n_rows} rows a token, with lists"
            yield Case("mul_mat_id", what, (w, x, ids, lists))
            yield Case("mul_mat_id_swiglu", what, (w, w, x, ids, lists), strided_out=n_rows == 3)


def _grouped() -> Iterator[Case]:
    for n_split in (2, 5):
        ways = {"grouped": True, "by_matrices": n_split == 5, "at_once": n_split == 2}
        attrs = {"scale": 0.2, "n_kv": 33, "n_split": n_split, **ways}
        yield Case("attention_split", f"grouped, {n_split} parts", sized_operands(2, 1, 8, 2, 20, 33, 64)[:5], attrs)


def _some_slots(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Of two sequences with their snapshots, some of them outside."""
    return np.array([[1, -1, 3], [0, 9, 4]] if shape == (2, 3) else [[2, 0], [9, -1]], np.int32)


def _delta_steps() -> Iterator[Case]:
    """The delta rule in two steps, of which only kernels of large prompts are asked."""
    gates, heads = uniform(-6, 6), (2, 4)
    for (n_keys, n_values), n_tokens, valid, tiled in ((heads, 70, (70, 30), False), (heads, 9, (9, 0), True)):
        keys, rows = ((2, n_tokens, n, 6) for n in (n_keys, n_values))
        of_gates = (2, n_tokens, n_keys, n_values // n_keys)
        operands = (Operand(keys), Operand(keys), Operand(rows), *(Operand(of_gates, fill=gates),) * 2)
        operands += Operand((n_values,), fill=uniform(-0.04, -0.01)), Operand((n_values,))
        n_valid = Operand((2,), DType.I32, fill=lambda _rng, _shape, valid=valid: np.array(valid, np.int32))
        yield Case("delta_parts", f"{n_tokens} tokens", (*operands, n_valid), {"tiled": True} if tiled else {})
        of_chunks = (2 * n_values, -(-n_tokens // 64))
        halves = (Operand((*of_chunks, 64, n), DType.F16, fill=uniform(-9000, 9000)) for n in (6, 6, 6, 64))
        parts = *halves, Operand((*of_chunks, 64, 6)), Operand((*of_chunks, 2), fill=uniform(0.1, 0.9))
        shape = (2, 1 + of_chunks[1])
        more = Operand((6, n_values * 36)), Operand(shape, DType.I32, fill=_some_slots), n_valid
        yield Case("delta_scan", f"{n_tokens} tokens", (*parts, *more), {"n_tokens": n_tokens})


OWN = (
    *_delta_steps(),
    *_with_lists(),
    *_grouped(),
    *_moe_ways(4, 6, 7, 9, 3),
    _moe_ffn("one token", 1, 8, (3, 5), 4, 2, DType.F32),
    _moe_ffn("every expert", 3, 7, (5, 4), 3, 3, DType.F16),
    _moe_ffn("blocks", 5, 64, (32, 96), 9, 4, DType.Q8_0),
)


@lru_cache(maxsize=1)
def trials(op: str) -> tuple[Trial, ...]:
    """All of an op, the smallest first; of what is large for prompts' kernels one for each choice of options."""
    cases = sorted((c for c in (*CASES, *OWN) if c.op == op), key=_size)
    large = [c for c in cases if id(c) in PROMPTS and _size(c) > LARGE]
    heard = {OPS[op].options_of(c.attrs): id(c) for c in reversed(large)}.values()
    left_out = {id(c) for c in large} - set(heard)
    return tuple(opened(c) for c in cases if id(c) not in left_out)


def _size(case: Case) -> int:
    return sum(int(np.prod(o.shape)) for o in case.operands)
