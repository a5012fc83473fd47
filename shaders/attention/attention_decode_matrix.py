"""Attention of one token over long caches by cooperative matrices: see attention_decode_matrix.comp."""

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ..kernel import Features, KernelCall, Variant, grid_of, strides
from ..operands import Operand
from .attention_args import scanned

FEWEST_HEADS, MOST_HEADS = 4, 8  # that share a key, of a workgroup
FEWEST_KEYS = 2048  # planned, below which the kernel without matrices is as fast
DIMS = 64, 128, 256
PARTS = 8  # subgroups of a workgroup
CACHE = Operand((DType.F16,)).rows.aligned(8)
VARIANTS: tuple[Variant, ...] = (("attention_decode_matrix", ()),)


def shared_nbytes(dim: int) -> int:
    """What attention_decode_matrix.comp declares."""
    tile = 128 if dim > 128 else 256
    return 16 * (16 * (dim // 8 + 1) + 16 * (tile // 8 + 1) + PARTS * 160) + 1024


def rule(node: Node, features: Features) -> str:
    q, k = node.inputs[:2]
    n_heads, dim = q.shape[2:]
    if (16, 16, 16) not in features.cooperative_matrix or not features.float16 or not features.subgroup_size:
        return "matrices: for devices with cooperative matrices of 16 x 16 x 16 halves"
    local = PARTS * features.subgroup_size
    if local > features.max_workgroup or dim not in DIMS or shared_nbytes(dim) > features.shared_nbytes:
        return f"matrices: heads of {dim}, {features.max_workgroup} invocations, {features.shared_nbytes} bytes shared"
    heads = grouped_heads(n_heads // (k.shape[2] // dim))
    fits = heads >= FEWEST_HEADS and node.attrs["n_kv"] >= FEWEST_KEYS
    return "" if fits else f"matrices: {heads} heads of {FEWEST_HEADS}, {node.attrs['n_kv']} keys of {FEWEST_KEYS}"


def grouped_heads(share: int) -> int:
    """Query heads of a workgroup, of those that share a key."""
    return max(n for n in range(1, min(share, MOST_HEADS) + 1) if share % n == 0)


def lower(node: Node, features: Features) -> KernelCall:
    q, k = node.inputs[:2]
    n_seqs, _, n_heads, dim = q.shape
    n_parts, heads = node.attrs["n_split"], grouped_heads(n_heads // (k.shape[2] // dim))
    buffers, arguments = scanned(node, "seq head part")
    del arguments["q_token"], arguments["pos_token"]  # there is one
    arguments |= {"n_parts": n_parts, "cap": float(node.attrs.get("cap", 0))}
    del arguments["cache_slot"], arguments["cache_row"]
    for name in "kv":
        arguments |= strides(name, (s // 8 for s in buffers[name].layout.strides), "slot row")
    grid = grid_of(n_seqs * n_parts * n_heads // heads)
    constants = {"local_size_x": PARTS * features.subgroup_size, "DIM": dim, "HEADS": heads}
    return KernelCall("attention_decode_matrix", (), buffers, arguments, grid, constants)
