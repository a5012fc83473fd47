"""The operands of the gated delta rule as delta_args.glsl describes them."""

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.walk import Word, refuse_dtype, refuse_large
from ..kernel import At, Features

MAX_DIM = 256
N_OPERANDS = 10  # of the rule; those of a norm follow


def refuses_types(node: Node, ids: tuple[int, ...]) -> str:
    plain = (t for i, t in enumerate(node.inputs) if i not in ids)
    return (
        refuse_dtype((DType.I32,), *(node.inputs[i] for i in ids))
        or refuse_dtype((DType.F32,), *plain)
        or refuse_large(*node.inputs, *node.outputs)
    )


def inner_strides(t: Tensor) -> tuple[int, ...]:
    """Strides, with 0 for axes of one entry, whose stride says nothing."""
    return tuple(s if n > 1 else 0 for n, s in zip(t.shape, t.layout.strides, strict=True))


def refuses_delta(node: Node, features: Features) -> str:
    q, k, v, beta, alpha, a, dt, state, _, n_valid, *norm = node.inputs
    if v.shape[3] > MAX_DIM:
        return f"heads of {v.shape[3]}, at most {MAX_DIM}"
    for t in (q, k, v, a, dt, state, n_valid, node.outputs[0], *norm):
        if not t.layout.rows_contiguous:
            return f"{t}: strides {t.layout.strides}, the last one is not 1"
    for t, other in ((q, k), (beta, alpha)):
        if inner_strides(t) != inner_strides(other):
            return f"{t}: strides {t.layout.strides}, of {other} {other.layout.strides}"
    return refuses_types(node, (8, 9))


def delta_constants(node: Node) -> tuple[int, ...]:
    """DIM, N_HEADS, SHARE, GATE_KEY, GATE_SHARE, SLOTS_SEQ, SLOTS_COLUMN, N_SNAPSHOTS."""
    q, _, v, beta = node.inputs[:4]
    slots = node.inputs[8] if node.inputs[8].ndim == 2 else node.inputs[8].unsqueeze(1)
    n_heads, dim = v.shape[2:]
    return dim, n_heads, n_heads // q.shape[2], *inner_strides(beta)[2:], *slots.layout.strides, slots.shape[1] - 1


def delta_operands(node: Node) -> tuple[tuple[Tensor, ...], tuple[Word, ...]]:
    """Bindings and push constants, up to those of a norm."""
    q, _, v, beta = node.inputs[:4]
    state, norm, y = node.inputs[7], node.inputs[N_OPERANDS:], node.outputs[0]
    push: tuple[Word, ...] = (*v.shape[:2], state.shape[0])
    push += (*inner_strides(q)[:3], At(0), At(1), *inner_strides(v)[:3], At(2))
    push += (*inner_strides(beta)[:2], At(3), At(4), At(5), At(6))
    push += (state.layout.strides[0], At(7), At(8), At(9), *inner_strides(y)[:3], At(10))
    return (*node.inputs[:N_OPERANDS], y, *norm), push
