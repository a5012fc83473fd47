"""What attention.comp and attention_matrix.comp are told alike."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, At, Defines


def scan(node: Node) -> tuple[Defines, tuple[Tensor, ...], tuple[Argument, ...]]:
    """Defines, buffers and arguments of attention, and of attention_split."""
    q, k, v, slots, pos, *more = node.inputs
    (y,) = node.outputs
    n_seqs, n_tokens, n_heads, dim = q.shape
    extra = dict(zip(node.attrs.get("extra", ()), more, strict=True))
    split = node.op == "attention_split"
    n_steps = node.attrs["n_split"] if split else n_tokens
    n_kv = node.attrs["n_kv"]
    y_seq, y_first, y_second, _ = y.layout.strides
    y_step, y_head = (y_second, y_first) if split else (y_first, y_second)
    arguments = (
        *(n_seqs, n_heads, n_steps, n_heads // (k.shape[2] // dim), n_kv, k.shape[0]),
        node.attrs.get("window", 0),
        *(*k.layout.strides[:2], slots.layout.strides[0]),
        *(*q.layout.strides[:3], y_seq, y_step, y_head, *pos.layout.strides),
        *(At(0), At(1), At(2), At(3), At(4), At(5), float(node.attrs["scale"]), float(node.attrs.get("cap", 0))),
        *((*extra["gate"].layout.strides[:3], At(6)) if "gate" in extra else ()),
        *((At(5 + len(extra)),) if "sinks" in extra else ()),
    )
    flags = ("SPLIT",) if split else (name.upper() for name in extra)
    return tuple((flag, "") for flag in flags), (q, k, v, slots, pos, y, *more), arguments
