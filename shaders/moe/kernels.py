"""Kernels of the mixture of experts: routing, the experts' gate and up, their weighted sum."""

from collections.abc import Iterator

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.walk import refuse_dtype, refuse_large
from ..kernel import At, Features, Kernel, KernelCall, grid_of
from ..matmul.dots import (
    defines,
    form_of,
    local_of,
    most_tokens,
    refuse_cols,
    refuse_rows,
    row_words,
    tile_of,
    variants,
)
from ..matmul.mul_mat_args import WEIGHT_TYPES, ceil_div
from ..rows.kernels import SUBGROUPS, row_call, row_strides, rows_words

MAX_PICKED = 32
SECOND_TYPES = (DType.F32, DType.F16, DType.Q8_0)
GROUP = 32  # elements that the kernels multiply at a time


def _pairs() -> Iterator[tuple[DType, DType]]:
    """Types of the experts and of the shared one that occur: alike, or the shared one more precise."""
    for t in WEIGHT_TYPES:
        yield t, t
        yield from ((t, s) for s in SECOND_TYPES if s is not t and (t.is_quantised or s is DType.F32))


PAIRS = frozenset(_pairs())


def _refuses_route(node: Node, _features: Features) -> str:
    (x,), k = node.inputs, node.attrs["k"]
    if k > MAX_PICKED or x.shape[1] > 1024:
        return f"{k} of {x.shape[1]} experts, at most {MAX_PICKED} of 1024"
    return refuse_dtype((DType.F32,), x) or refuse_large(x)


def _lower_route(node: Node, features: Features) -> KernelCall:
    (x,), (ids, weights) = node.inputs, node.outputs
    push = (*rows_words(x.layout), *row_strides(ids.layout, 1), *row_strides(weights.layout, 2), node.attrs["k"])
    return row_call(("route", ()), (x, ids, weights), features, push)


def _refuse_types(first: Tensor, second: Tensor) -> str:
    if (first.dtype, second.dtype) not in PAIRS:
        return f"experts of {first.dtype.name} with a shared one of {second.dtype.name}"
    odd = next((t for t in (first, second) if t.shape[-1] % GROUP), None)
    return f"{odd}: rows of {odd.shape[-1]}, no multiple of {GROUP}" if odd else ""


def _refuses_gate_up(node: Node, features: Features) -> str:
    x, gate, up, _, shared_gate, shared_up = node.inputs
    if gate.dtype is not up.dtype or shared_gate.dtype is not shared_up.dtype:
        return (
            f"gate and up of {gate.dtype.name} and {up.dtype.name}, {shared_gate.dtype.name} and {shared_up.dtype.name}"
        )
    rows = refuse_rows(x, gate, up, shared_gate, shared_up, *node.outputs)
    return refuse_cols(x, most_tokens(features)) or rows or _refuse_types(gate, shared_gate)


def _lower_gate_up(node: Node, features: Features) -> KernelCall:
    (x, gate, up, ids, shared_gate, shared_up), (y, shared_y) = node.inputs, node.outputs
    (n, k), local, pairs = ids.shape, local_of(x.shape[1], features), 1
    tile = tile_of(local, pairs, features)
    rows, rows_shared = gate.shape[1], shared_gate.shape[0]
    (gate_row, gate_expert), (up_row, up_expert) = row_words(gate), row_words(up)
    push = (
        *(At(i) for i in range(8)),
        *(n, k, gate.shape[0], x.shape[1], rows, rows_shared),
        *(gate_row, up_row, row_words(shared_gate)[0], row_words(shared_up)[0], gate_expert, up_expert),
        *(x.layout.strides[0], *ids.layout.strides, *y.layout.strides[:2], shared_y.layout.strides[0]),
    )
    flags = defines(gate.dtype, shared_gate.dtype, form_of(features))
    args = gate, up, shared_gate, shared_up, x, ids, y, shared_y
    grid = grid_of(n * (k * ceil_div(rows, tile) + ceil_div(rows_shared, tile)))
    return KernelCall("experts_gate_up", flags, args, push, grid, (local, 2 * pairs))


def _refuses_down(node: Node, features: Features) -> str:
    hidden, down, _, _, shared, shared_down, _, residual = node.inputs
    rows = refuse_rows(hidden, down, shared, shared_down, residual, *node.outputs)
    return refuse_cols(residual, most_tokens(features)) or rows or _refuse_types(down, shared_down)


def _lower_down(node: Node, features: Features) -> KernelCall:
    (hidden, down, ids, weights, shared, shared_down, shared_gate, residual), (y,) = node.inputs, node.outputs
    (n, k), rows = ids.shape, 1
    local = local_of(4 * hidden.shape[2], features)  # an octet of an expert's row an invocation, or two
    down_row, down_expert = row_words(down)
    push = (
        *(At(i) for i in range(9)),
        *(n, k, down.shape[0], down.shape[1], hidden.shape[2], shared.shape[1]),
        *(down_row, row_words(shared_down)[0], down_expert, *hidden.layout.strides[:2], shared.layout.strides[0]),
        *(*ids.layout.strides, *weights.layout.strides),
        *(shared_gate.layout.strides[0], residual.layout.strides[0], y.layout.strides[0]),
    )
    flags = defines(down.dtype, shared_down.dtype, form_of(features))
    args = down, shared_down, hidden, shared, ids, weights, shared_gate, residual, y
    grid = grid_of(n * ceil_div(down.shape[1], tile_of(local, rows, features)))
    return KernelCall("experts_down", flags, args, push, grid, (local, rows))


def _refuses_sum(node: Node, _features: Features) -> str:
    tensors = (*node.inputs, *node.outputs)
    return refuse_dtype((DType.F32,), *tensors) or refuse_large(*tensors)


def _lower_sum(node: Node, features: Features) -> KernelCall:
    """A workgroup a token and a run of its columns."""
    (routed, weights, shared, gate, residual), (y,) = node.inputs, node.outputs
    n, k, e = routed.shape
    local, run = 64, 1024 if features.software else 64
    push = (
        *(At(i) for i in range(6)),
        *(n, k, e, *routed.layout.strides, *weights.layout.strides),
        *(*shared.layout.strides, gate.layout.strides[0], *residual.layout.strides, *y.layout.strides),
    )
    args = routed, weights, shared, gate, residual, y
    return KernelCall("experts_sum", (), args, push, grid_of(n * ceil_div(e, run)), (local, run))


KERNELS = (
    Kernel("route", _refuses_route, _lower_route, (("route", ()), ("route", SUBGROUPS))),
    Kernel("experts_gate_up", _refuses_gate_up, _lower_gate_up, variants("experts_gate_up", _pairs())),
    Kernel("experts_down", _refuses_down, _lower_down, variants("experts_down", _pairs())),
    Kernel("experts_sum", _refuses_sum, _lower_sum, (("experts_sum", ()),)),
)
