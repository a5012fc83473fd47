"""The operands of the gated delta rule as delta_args.glsl describes them."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Constants, strides
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


def head_constants(node: Node) -> Constants:
    q, _, v, beta = node.inputs[:4]
    n_heads, dim = v.shape[2:]
    gate_key, gate_share = strides_that_count(beta)[2:]
    return {
        **dict(DIM=dim, N_HEADS=n_heads, SHARE=n_heads // q.shape[2]),
        **dict(GATE_KEY=gate_key, GATE_SHARE=gate_share, TILED=int(node.attrs.get("tiled", False))),
    }


def slot_constants(slots: Tensor) -> Constants:
    columns = slots if slots.ndim == 2 else slots.unsqueeze(1)
    slots_seq, slots_column = columns.layout.strides
    return dict(SLOTS_SEQ=slots_seq, SLOTS_COLUMN=slots_column, N_SNAPSHOTS=columns.shape[1] - 1)


def delta_constants(node: Node) -> Constants:
    return {**head_constants(node), **slot_constants(node.inputs[8])}


def delta_operands(node: Node) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments but those of a norm."""
    q, k, v, beta, alpha, a, dt, state, slots, n_valid = node.inputs[:N_OPERANDS]
    y = node.outputs[0]
    buffers = {
        **dict(q=q, k=k, v=v, beta=beta, alpha=alpha, a=a, dt=dt),
        **dict(state=state, slots=slots, n_valid=n_valid, y=y),
    }
    arguments: dict[str, Argument] = {f"{name}_at": t for name, t in buffers.items()}
    n_seqs, n_tokens = v.shape[:2]
    arguments |= {"n_seqs": n_seqs, "n_tokens": n_tokens, "n_slots": state.shape[0]}
    for name in "qvy":
        arguments |= strides(name, strides_that_count(buffers[name]), "seq token head")
    arguments |= strides("beta", strides_that_count(beta), "seq token")
    arguments["state_slot"] = state.layout.strides[0]
    return buffers, arguments
