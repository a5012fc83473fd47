"""The operands of the gated delta rule as delta_args.glsl describes them."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, At
from ..operands import FLOATS, INTS, Operands, strides_that_count

N_OPERANDS = 10  # of the rule; those of a norm follow
MAX_DIM = 256

_ROWS = FLOATS.rows
TAKES: Operands = {
    "q": _ROWS,
    "k": _ROWS.strided_as("q"),
    "v": _ROWS.axis(3, most=MAX_DIM),
    "beta": FLOATS,
    "alpha": FLOATS.strided_as("beta"),
    "a": _ROWS,
    "dt": _ROWS,
    "state": _ROWS,
    "slots": INTS,
    "n_valid": INTS.rows,
}
OPTIONS = frozenset({"tiled"})
GIVES: Operands = {"y": _ROWS, "written": _ROWS}
NORM: Operands = {"w": _ROWS, "gate": _ROWS}


def delta_constants(node: Node) -> tuple[int, ...]:
    """DIM, N_HEADS, SHARE, GATE_KEY, GATE_SHARE, SLOTS_SEQ, SLOTS_COLUMN, N_SNAPSHOTS, TILED."""
    q, _, v, beta = node.inputs[:4]
    slots = node.inputs[8] if node.inputs[8].ndim == 2 else node.inputs[8].unsqueeze(1)
    n_heads, dim = v.shape[2:]
    gates, tiled = strides_that_count(beta)[2:], int(node.attrs.get("tiled", False))
    return dim, n_heads, n_heads // q.shape[2], *gates, *slots.layout.strides, slots.shape[1] - 1, tiled


def delta_operands(node: Node) -> tuple[tuple[Tensor, ...], tuple[Argument, ...]]:
    """Bindings and push constants, up to those of a norm."""
    q, _, v, beta = node.inputs[:4]
    state, norm, y = node.inputs[7], node.inputs[N_OPERANDS:], node.outputs[0]
    push: tuple[Argument, ...] = (*v.shape[:2], state.shape[0])
    push += (*strides_that_count(q)[:3], At(0), At(1), *strides_that_count(v)[:3], At(2))
    push += (*strides_that_count(beta)[:2], At(3), At(4), At(5), At(6))
    push += (state.layout.strides[0], At(7), At(8), At(9), *strides_that_count(y)[:3], At(10))
    return (*node.inputs[:N_OPERANDS], y, *norm), push
