"""Kernels of mul_mat and mul_mat_id by cooperative matrices, for many columns: see matrix_tile.glsl.

Their operands are halves: the error of an output is about 1e-3 of its row's largest. Which tile for which shape says
matrix_tiles.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Shape
from ...runtime.ir.tensor import Kind, Tensor
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of, strides
from ..operands import FLOATS, INTS, WEIGHTS, Operand, Operands
from .matrix_tiles import (
    GROUP,
    Tile,
    constants_of,
    expert_tile,
    for_products,
    n_groups,
    shape_of,
    slices,
    tile_for,
)
from .mul_mat_args import Product, ceil_div, defines_of, in_words, is_aligned, lower_product, operands_of

FEWEST_COLS = 33  # of F32
MANY_ROWS = 4096  # of other types, from which fewer columns pay
FEWEST_HALVED = 1 << 18  # elements of a weight whose input is halved beforehand
FEWEST_PRODUCTS = 1 << 24  # multiplications of an op, below which nothing is gained
PLAIN = (DType.F32, DType.F16, DType.BF16)
# with another kernel for rows that start at whole 16 bytes
BY_GROUPS = (*PLAIN, DType.Q4_0, DType.Q8_0, DType.Q6_K, DType.IQ4_NL, DType.MXFP4)
ALWAYS_BY_GROUPS = (DType.Q4_K, DType.Q5_K)  # whose blocks are whole 16 bytes
Lower = Callable[[Node, Features], KernelCall]
Rule = Callable[[Node, Features], str]


def _for_matrices(features: Features) -> str:
    fits = shape_of(features) is not None and features.float16 and features.subgroup_size
    return "" if fits else "matrices: for devices with cooperative matrices of halves"


def _worth(n: int) -> str:
    return f"matrices: {n} products, at least {FEWEST_PRODUCTS}" if n < FEWEST_PRODUCTS else ""


def _rule(node: Node, features: Features) -> str:
    p, w = operands_of(node), node.inputs[0]
    if p.n_cols < (fewest := fewest_cols(w, p.n_rows, features)):
        return f"matrices: {p.n_cols} columns, at least {fewest}"
    if p.n_batch > 1 and not w.dtype.is_quantised:  # no model's weights, but what was computed: halves would lose it
        return f"matrices: {p.n_batch} products of {w.dtype.name} side by side"
    n = p.n_rows * p.n_cols * p.n_batch * p.n_inner
    return _for_matrices(features) or _worth(n) or _refuses_tile(_tile(node, p, features), p, features)


def fewest_cols(w: Tensor, n_rows: int, features: Features) -> int:
    """Columns from which matrices pay, of which all but one or two are multiplied for nothing."""
    if w.dtype is DType.F32:
        return FEWEST_COLS
    return features.tuning.few_cols if n_rows >= MANY_ROWS else features.tuning.some_cols


def takes_few(weights: Sequence[Tensor], n_cols: int, features: Features) -> bool:
    """Are most rows of these weights better multiplied by matrices, each weight by itself?"""
    n_rows, n_inner = sum(w.shape[0] for w in weights), weights[0].shape[-1]
    many = n_cols >= fewest_cols(weights[0], n_rows, features) and n_rows * n_cols * n_inner >= FEWEST_PRODUCTS
    return many and n_inner % (8 * GROUP) == 0 and not _for_matrices(features)


def takes_experts(w: Tensor, n_tokens: int, n_slots: int, features: Features) -> bool:
    """Are an expert's rows better read once for all of its tokens, in lists and by matrices, than for each token?"""
    return not _refuses_experts(w, (n_tokens, n_slots), features)


def _refuses_experts(w: Tensor, picked: Shape, features: Features) -> str:
    """picked: tokens, and experts of each."""
    n = prod((*picked, *w.shape[1:]))
    if picked[0] < (fewest := features.tuning.expert_tokens):
        return f"matrices: {picked[0]} tokens, at least {fewest}"
    return _for_matrices(features) or _worth(n)


def _refuses_tile(tile: Tile | None, p: Product, features: Features) -> str:
    limits = f"{features.shared_nbytes} bytes of shared memory, {features.max_workgroup} invocations"
    return "" if tile else f"matrices: rows of {p.n_inner}, {limits}"


def _tile(node: Node, p: Product, features: Features) -> Tile | None:
    return tile_for(p, for_products(node, features))


def _lower(node: Node, features: Features) -> KernelCall:
    p = operands_of(node)
    tile = _tile(node, p, features)
    assert tile is not None
    plain, (w, x, *halves) = replace(node, inputs=node.inputs[:2]), node.inputs
    constants = {**constants_of(tile, features), "CONSTANT": int(w.storage.kind is Kind.WEIGHT)}
    call = lower_product(plain, "mul_mat_matrix", _flags(w), n_groups(tile, p), constants)
    return _halved(replace(call, granted_nbytes=tile.granted_nbytes), x, *halves)


def _halved(call: KernelCall, x: Tensor, halves: Tensor | None = None) -> KernelCall:
    """With x as halves, or without."""
    return replace(
        call,
        buffers={**call.buffers, "x_halves": x if halves is None else halves},
        arguments={**call.arguments, "halves_at": halves or 0},
        constants={**call.constants, "HALVED": int(halves is not None)},
    )


def _flags(*weights: Tensor) -> tuple[str, ...]:
    """Of weights of one type."""
    return ("BY_GROUPS",) if weights[0].dtype in BY_GROUPS and all(map(_by_groups, weights)) else ()


def _by_groups(w: Tensor) -> bool:
    """Are weights loaded 16 bytes at a time, as every row starts at a multiple of that?"""
    return w.dtype in ALWAYS_BY_GROUPS or (w.dtype in BY_GROUPS and is_aligned(w))


def _lists_rule(node: Node, features: Features) -> str:
    p, (w, _x, ids, *_more) = operands_of(node), node.inputs
    tile = expert_tile(node, p, features, p.n_rows, _n_tokens(node))
    return _refuses_experts(w, ids.shape, features) or _refuses_tile(tile, p, features)


def _lower_lists(node: Node, features: Features) -> KernelCall:
    (w, x, _ids, lists, *halves), (y,) = node.inputs, node.outputs
    p, n_experts = operands_of(node), w.shape[0]
    tile = expert_tile(node, p, features, p.n_rows, _n_tokens(node))
    assert tile is not None
    n_slices = slices(ceil_div(p.n_rows, tile.rows), _n_tokens(node), tile)
    starts = {"w_at": w, "x_at": x, "ids_at": lists, "y_at": y}
    arguments = {**p.arguments, **starts, "ids_batch0": 0, "ids_batch1": 0, "n_experts": n_experts}
    grid = grid_of(ceil_div(p.n_rows, tile.rows) * n_experts * n_slices)
    defines, buffers = defines_of(w.dtype, "mul_mat_id", *_flags(w)), {"weights": w, "x": x, "ids": lists, "y": y}
    constants = {**constants_of(tile, features), "SLICES": n_slices}
    call = KernelCall("mul_mat_id_matrix", defines, buffers, arguments, grid, constants, tile.granted_nbytes)
    return _halved(call, x, *halves)


def _swiglu_rule(node: Node, features: Features) -> str:
    p, (w, _up, _x, ids, *_more) = operands_of(_as_product(node)), node.inputs
    tile = expert_tile(node, p, features, 2 * p.n_rows, _n_tokens(node))
    why = _refuses_experts(w, ids.shape, features) or _refuses_tile(tile, p, features)
    if why or tile is None:
        return why
    is_whole = all(map(_by_groups, node.inputs[:2])) and w.dtype is not DType.F32
    n_items, local = tile.rows * tile.groups * (1 if is_whole else 2), tile.local(features) // tile.splits
    return "" if n_items % (2 * local) == 0 else f"matrices: {n_items} loads, not as many a weight by {local}"


def _as_product(node: Node) -> Node:
    """The product with the gate alone."""
    gate, _up, *rest = node.inputs
    return replace(node, op="mul_mat_id", inputs=(gate, *rest))


def _lower_swiglu(node: Node, features: Features) -> KernelCall:
    (gate, up, x, _ids, lists, *halves), (y,) = node.inputs, node.outputs
    p, n_experts = operands_of(_as_product(node)), gate.shape[0]
    tile = expert_tile(node, p, features, 2 * p.n_rows, _n_tokens(node))
    assert tile is not None
    arguments = {
        **dict(n_rows=p.n_rows, n_inner=p.n_inner, n_experts=n_experts, n_batch1=p.batch[1], ids_at=lists),
        **strides("gate", (gate, *in_words(gate).strides), "at expert row"),
        **strides("up", (up, *in_words(up).strides), "at expert row"),
        **strides("x", (x, *p.x.strides), "at batch0 batch1"),
        **dict(y_at=y, y_batch0=p.y.strides[0], y_batch1=p.y.strides[1], y_inner=p.y.strides[3]),
    }
    row_tiles = ceil_div(p.n_rows, tile.rows // 2)
    n_slices = slices(row_tiles, _n_tokens(node), tile)
    constants = {**constants_of(tile, features), "SLICES": n_slices}
    buffers = {"gate_words": gate, "up_words": up, "x_quads": x, "ids": lists, "y": y}
    defines, grid = defines_of(gate.dtype, "mul_mat", *_flags(gate, up)), grid_of(row_tiles * n_experts * n_slices)
    call = KernelCall("mul_mat_id_swiglu", defines, buffers, arguments, grid, constants, tile.granted_nbytes)
    return _halved(call, x, *halves)


def _n_tokens(node: Node) -> int:
    """Of a product of experts, by its ids: no token picks an expert twice."""
    return node.inputs[2 if node.op == "mul_mat_id" else 3].shape[0]


def _variants(op: str, stem: str) -> tuple[Variant, ...]:
    narrow = tuple((stem, defines_of(t, op)) for t in WEIGHTS.dtypes)
    return (*narrow, *((stem, defines_of(t, op, "BY_GROUPS")) for t in BY_GROUPS))


_X, _LISTS = FLOATS.rows.aligned(4), {"ids": INTS, "lists": INTS.contiguous}
_WAYS: tuple[tuple[str, Operands, Lower, tuple[Variant, ...], Rule], ...] = (
    ("mul_mat", {"w": WEIGHTS.rows, "x": _X}, _lower, _variants("mul_mat", "mul_mat_matrix"), _rule),
    (
        "mul_mat_id",
        {"w": WEIGHTS.rows, "x": _X, **_LISTS},
        _lower_lists,
        _variants("mul_mat_id", "mul_mat_id_matrix"),
        _lists_rule,
    ),
    (
        "mul_mat_id_swiglu",
        {"gate": WEIGHTS.rows, "up": WEIGHTS.rows.typed_as("gate"), "x": _X, **_LISTS},
        _lower_swiglu,
        _variants("mul_mat", "mul_mat_id_swiglu"),
        _swiglu_rule,
    ),
)


def _with_halves(takes: Operands) -> Operands:
    return {**takes, "x": _X.contiguous, "halves": Operand((DType.F16,)).contiguous.aligned(8)}


def _worth_halving(rule: Rule) -> Rule:
    """Small weights are not worth a dispatch more, and those of few rows read x only once or twice."""

    def why(node: Node, features: Features) -> str:
        m, k = node.inputs[0].shape[-2:]
        return (
            f"halves: a weight of {m} x {k}, at least {FEWEST_HALVED}"
            if m * k < FEWEST_HALVED
            else rule(node, features)
        )

    return why


def _lower_halves(node: Node, _features: Features) -> KernelCall:
    (x,), (y,) = node.inputs, node.outputs
    n = x.layout.n_elements // 8
    arguments = {"n_octets": n, "x_at": x, "y_at": y}
    return KernelCall("halves", (), {"x": x, "y": y}, arguments, grid_of(ceil_div(n, 64)))


PRODUCT, *_BY_EXPERTS = (
    Kernel(op, takes, {"y": FLOATS}, lower, variants, rule) for op, takes, lower, variants, rule in _WAYS
)
KERNELS = (
    PRODUCT,
    *_BY_EXPERTS,
    *(
        Kernel(op, _with_halves(takes), {"y": FLOATS}, lower, variants, _worth_halving(rule))
        for op, takes, lower, variants, rule in _WAYS
    ),
    Kernel(
        "halves",
        {"x": _X.contiguous},
        {"y": Operand((DType.F16,)).contiguous.aligned(8)},
        _lower_halves,
        (("halves", ()),),
    ),
)
