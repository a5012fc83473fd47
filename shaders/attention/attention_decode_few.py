"""Attention of one token in parts of few keys, also with its inputs made on the way: see attention_decode_few.comp."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.walk import fast_div_words
from ..kernel import Argument, Constants, Features, Kernel, KernelCall, Variant, grid_of, strides
from . import attention_inputs
from .attention_args import scanned
from .attention_decode_matrix import DIMS, FEWEST_HEADS, grouped_heads

LOCAL, MOST_KEYS = 256, 32  # of a part
VARIANTS: tuple[Variant, ...] = (("attention_decode_few", ()),)
SHARED_NBYTES = 8 * 16 * LOCAL + 2 * 4 * LOCAL  # at most
OWN_NBYTES = 2 * 2 * max(DIMS)  # and for the own key and value


def rule(node: Node, features: Features) -> str:
    q, k = node.inputs[:2]
    return _refusal(node, q, k, features, SHARED_NBYTES)


def _refusal(node: Node, q: Tensor, k: Tensor, features: Features, shared_nbytes: int) -> str:
    n_heads, dim = q.shape[2:]
    if features.software or features.max_workgroup < LOCAL or features.shared_nbytes < shared_nbytes:
        return f"few keys: not a GPU of workgroups of {LOCAL} with {shared_nbytes} bytes shared"
    if dim not in DIMS or not dim // 8 <= features.subgroup_size <= LOCAL:
        return (
            f"few keys: heads of {dim}, of {DIMS}, by subgroups of {features.subgroup_size}, at least an eighth of them"
        )
    heads, n_keys = grouped_heads(n_heads // (k.shape[2] // dim)), -(-node.attrs["n_kv"] // node.attrs["n_split"])
    fits = heads >= FEWEST_HEADS and n_keys <= MOST_KEYS
    return "" if fits else f"few keys: {heads} heads of {FEWEST_HEADS}, {n_keys} keys a part, at most {MOST_KEYS}"


def keys_of_team(n_keys: int, dim: int) -> int:
    """Of a part's, of each of the teams of an eighth of a head's invocations."""
    return 1 << (-(-n_keys * (dim // 8) // LOCAL) - 1).bit_length()


def lower(node: Node, features: Features) -> KernelCall:
    q, k = node.inputs[:2]
    buffers, arguments = scanned(node, "seq head part")
    for name in ("q_token", "pos_token", "cache_slot", "cache_row", "n_heads", "share"):
        del arguments[name]
    for name in "kv":
        arguments |= strides(name, (s // 8 for s in buffers[name].layout.strides), "slot row")
    arguments |= _parts(node)
    known = _known(node, q, k, features)
    return KernelCall("attention_decode_few", (), buffers, arguments, _grid(node, q, k), known)


def _parts(node: Node) -> dict[str, Argument]:
    n_parts, cap = node.attrs["n_split"], float(node.attrs.get("cap", 0))
    magic, shift = fast_div_words(n_parts)
    return {"n_parts": n_parts, "parts_magic": magic, "parts_shift": shift, "cap": cap}


def _known(node: Node, q: Tensor, k: Tensor, features: Features) -> Constants:
    n_heads, dim = q.shape[2:]
    share, cap = n_heads // (k.shape[2] // dim), float(node.attrs.get("cap", 0))
    heads, n_keys = grouped_heads(share), -(-node.attrs["n_kv"] // node.attrs["n_split"])
    known = {"local_size_x": LOCAL, "DIM": dim, "HEADS": heads, "SUBGROUP": features.subgroup_size}
    known |= {"CHUNKS": n_heads // heads, "SHARE": share // heads, "CAPPED": int(cap > 0)}
    return {**known, "KEYS": keys_of_team(n_keys, dim)}


def _grid(node: Node, q: Tensor, k: Tensor) -> tuple[int, int, int]:
    n_seqs, _, n_heads, dim = q.shape
    return grid_of(n_seqs * node.attrs["n_split"] * n_heads // grouped_heads(n_heads // (k.shape[2] // dim)))


def _rope_rule(node: Node, features: Features) -> str:
    why = attention_inputs.refusal(node)
    return why or _refusal(node, node.inputs[0], node.inputs[6], features, SHARED_NBYTES + OWN_NBYTES)


def _lower_rope(node: Node, features: Features) -> KernelCall:
    q, k_cache, norms = node.inputs[0], node.inputs[6], node.inputs[10:]
    buffers, arguments = attention_inputs.given(node, norms)
    known = {**attention_inputs.turning(node), **_known(node, q, k_cache, features)}
    defines, grid = ROPE_VARIANTS[bool(norms)][1], _grid(node, q, k_cache)
    return KernelCall("attention_decode_few", defines, buffers, arguments | _parts(node), grid, known)


ROPE_VARIANTS: tuple[Variant, ...] = (
    ("attention_decode_few", (("ROPE", ""),)),
    ("attention_decode_few", (("ROPE", ""), ("NORM", ""))),
)
_ROPE, _OPTIONS = attention_inputs.TAKES | attention_inputs.NORMS, frozenset({"q_norm", "k_norm", "neighbours", "cap"})

KERNELS = (
    Kernel("rope_attention_split", _ROPE, attention_inputs.GIVES, _lower_rope, ROPE_VARIANTS, _rope_rule, _OPTIONS),
)
