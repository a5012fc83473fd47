"""Attention of one token over few keys as a whole: see attention_whole.comp."""

from itertools import product

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of
from ..operands import FLOATS
from . import attention_inputs
from .attention_args import DIMS

LOCAL = 512
SHARED_NBYTES = 4 * 8 * LOCAL + 2 * 4 * LOCAL // (min(DIMS) // 8) + attention_inputs.own_nbytes(max(DIMS))  # at most
_GATE, _NORM = (("GATE", ""),), (("NORM", ""),)
VARIANTS: tuple[Variant, ...] = tuple(
    ("attention_whole", (*norm, *gate)) for norm, gate in product(((), _NORM), ((), _GATE))
)


def _rule(node: Node, features: Features) -> str:
    dim = node.inputs[0].shape[3]
    if features.software or features.max_workgroup < LOCAL or features.shared_nbytes < SHARED_NBYTES:
        return f"not a GPU of workgroups of {LOCAL} with {SHARED_NBYTES} bytes shared"
    if dim not in DIMS or not dim // 8 <= features.subgroup_size <= LOCAL:
        return f"heads of {dim}, of {DIMS}, by subgroups of {features.subgroup_size}, at least an eighth of them"
    return attention_inputs.refusal(node)


def _lower(node: Node, _features: Features) -> KernelCall:
    (n_seqs, _, n_heads, dim), extra = node.inputs[0].shape, node.attrs.get("extra", ())
    more = dict(zip(extra, node.inputs[10:], strict=True))
    gate = more.pop("gate", None)
    buffers, arguments = attention_inputs.given(node, tuple(more.values()))
    if gate is not None:
        seq, _, head, _ = gate.layout.strides
        buffers["gate"] = gate
        arguments |= {"gate_at": gate, "gate_seq": seq, "gate_head": head}
    share, cap = n_heads // node.inputs[1].shape[2], float(node.attrs.get("cap", 0))
    known = {"local_size_x": LOCAL, "DIM": dim, "CHUNKS": n_heads, "SHARE": share, "CAPPED": int(cap > 0)}
    defines = (*(_NORM if more else ()), *(_GATE if gate is not None else ()))
    known |= attention_inputs.turning(node)
    return KernelCall("attention_whole", defines, buffers, arguments, grid_of(n_seqs * n_heads), known)


_TAKES = attention_inputs.TAKES | {"more*": FLOATS.rows.aligned(4)}
_OPTIONS = frozenset({"q_norm", "k_norm", "gate", "neighbours", "cap"})

KERNELS = (Kernel("rope_attention", _TAKES, attention_inputs.GIVES, _lower, VARIANTS, _rule, _OPTIONS),)
