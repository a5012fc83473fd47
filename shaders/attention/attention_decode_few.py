"""Attention of one token in parts of few keys: see attention_decode_few.comp."""

from ...runtime.ir.graph import Node
from ..common.walk import fast_div_words
from ..kernel import Features, KernelCall, Variant, grid_of, strides
from .attention_args import scanned
from .attention_decode_matrix import DIMS, FEWEST_HEADS, grouped_heads

LOCAL, MOST_KEYS = 256, 32  # of a part
VARIANTS: tuple[Variant, ...] = (("attention_decode_few", ()),)
SHARED_NBYTES = 8 * 16 * LOCAL + 2 * 4 * LOCAL  # at most


def rule(node: Node, features: Features) -> str:
    q, k = node.inputs[:2]
    n_heads, dim = q.shape[2:]
    if features.software or features.max_workgroup < LOCAL or features.shared_nbytes < SHARED_NBYTES:
        return f"few keys: not a GPU of workgroups of {LOCAL} with {SHARED_NBYTES} bytes shared"
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
    n_seqs, _, n_heads, dim = q.shape
    n_parts, share, cap = node.attrs["n_split"], n_heads // (k.shape[2] // dim), float(node.attrs.get("cap", 0))
    heads = grouped_heads(share)
    buffers, arguments = scanned(node, "seq head part")
    for name in ("q_token", "pos_token", "cache_slot", "cache_row", "n_heads", "share"):
        del arguments[name]
    arguments |= {"n_parts": n_parts, "cap": cap}
    arguments |= dict(zip(("parts_magic", "parts_shift"), fast_div_words(n_parts), strict=True))
    for name in "kv":
        arguments |= strides(name, (s // 8 for s in buffers[name].layout.strides), "slot row")
    known = {"DIM": dim, "HEADS": heads, "SUBGROUP": features.subgroup_size}
    known |= {"CHUNKS": n_heads // heads, "SHARE": share // heads, "CAPPED": int(cap > 0)}
    known["KEYS"] = keys_of_team(-(-node.attrs["n_kv"] // n_parts), dim)
    grid = grid_of(n_seqs * n_parts * n_heads // heads)
    return KernelCall("attention_decode_few", (), buffers, arguments, grid, {"local_size_x": LOCAL, **known})
