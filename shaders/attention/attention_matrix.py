"""Attention of prompts by cooperative matrices: see attention_matrix.comp."""

from ...runtime.ir.graph import Node
from ..kernel import Features, KernelCall, Variant, grid_of
from .attention_args import PAIR_WAYS, apart, scan, unpaired, values

FEWEST_TOKENS = 32  # of a sequence
FEWEST_PRODUCTS = 1 << 20  # multiplications, below which nothing is gained
TOKENS, PARTS = 64, 8  # of a workgroup: queries, subgroups
EXTRAS = (), ("GATE",), ("SINKS",), ("GATE", "SINKS")
VARIANTS: tuple[Variant, ...] = tuple(
    ("attention_matrix", (*((flag, "") for flag in flags), *cached)) for flags in EXTRAS for cached in PAIR_WAYS
)


def shared_nbytes(dim: int) -> int:
    """What attention_matrix.comp declares."""
    return 17408 + 64 * dim


def rule(node: Node, features: Features) -> str:
    _, n_tokens, n_heads, dim = node.inputs[0].shape
    if (16, 16, 16) not in features.cooperative_matrix or not features.float16 or not features.subgroup_size:
        return "matrices: for devices with cooperative matrices of 16 x 16 x 16 halves"
    local = PARTS * features.subgroup_size
    if local > features.max_workgroup or shared_nbytes(dim) > features.shared_nbytes:
        return f"matrices: {features.max_workgroup} invocations, {features.shared_nbytes} bytes of shared memory"
    fits = n_tokens >= FEWEST_TOKENS and 4 * dim % local == 0 and 64 <= dim <= 256
    fits = fits and n_tokens * n_heads * dim * node.attrs["n_kv"] >= FEWEST_PRODUCTS
    if not fits:
        return f"matrices: {n_tokens} tokens, heads of {dim}"
    return unpaired(node) or apart(node.inputs[1], dim) or apart(node.inputs[2], dim)


def lower(node: Node, features: Features) -> KernelCall:
    n_seqs, n_tokens, n_heads, dim = node.inputs[0].shape
    defines, buffers, arguments = scan(node, "token")
    grid = grid_of(-(-n_tokens // TOKENS) * n_heads * n_seqs)
    constants = {"local_size_x": PARTS * features.subgroup_size, "DIM": dim, **values(node)}
    return KernelCall("attention_matrix", defines, buffers, arguments, grid, constants)
