"""The gated delta rule in chunks of tokens, for GPUs: see delta_chunks.comp.

Where it wins over the scan of delta_net.comp, and with which sizes: as tools/reports/delta.py measured on an H200.
"""

from math import ceil

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of
from .delta_args import GIVES, OPTIONS, TAKES, delta_constants, delta_operands

VARIANT: Variant = ("delta_chunks", ())
SIZES = ((64, 32), (64, 16), (32, 32), (32, 16), (32, 8))  # tokens of a chunk, rows of the state
STEP = 16  # columns staged at a time
FEW_GROUPS, MANY_GROUPS = 64, 256  # of 32 rows each
FEWEST_TOKENS_OF_MANY = 256
forced: tuple[int, int] | None = None  # a size to take whatever the shape, for those who measure


def rule(node: Node, features: Features) -> str:
    if features.software or not features.delta_chunks:
        return "chunks: for GPUs"
    n_tokens, dim = node.inputs[2].shape[1], node.inputs[2].shape[3]
    fewest = max(features.tuning.delta_tokens, FEWEST_TOKENS_OF_MANY if _n_groups(node) > MANY_GROUPS else 0)
    if n_tokens < fewest and not forced:
        return f"chunks: {n_tokens} tokens, at least {fewest}"
    if _size(node, features) is None:
        return f"chunks: {features.shared_nbytes} bytes of shared memory are too few for heads of {dim}"
    return ""


def _n_groups(node: Node) -> int:
    """Workgroups with tiles of 32 rows."""
    n_seqs, _, n_heads, dim = node.inputs[2].shape
    return n_seqs * n_heads * ceil(dim / 32)


def _size(node: Node, features: Features) -> tuple[int, int] | None:
    """Few workgroups are made more by smaller tiles; many share a processor, for which chunks of 64 are too large."""
    if forced:
        return forced
    n_groups, dim = _n_groups(node), node.inputs[2].shape[3]
    best = (64, 16) if n_groups < FEW_GROUPS else (64, 32) if n_groups <= MANY_GROUPS else (32, 32)
    small = (s for s in (best, *SIZES) if shared_nbytes(*s, dim) <= features.shared_nbytes)
    return next((s for s in small if _lanes(s[0]) <= features.max_workgroup), None)


def _lanes(chunk: int) -> int:
    return (chunk // 4) ** 2


def shared_nbytes(chunk: int, rows: int, dim: int) -> int:
    """What delta_chunks.comp declares."""
    pairs = 4 * max(chunk, 2 * STEP) * (chunk // 4 + 1)
    return 4 * (rows * (dim + 1) + pairs + chunk * (rows + 1) + 6 * chunk)


def _lower(node: Node, features: Features) -> KernelCall:
    n_seqs, _, n_heads, dim = node.inputs[2].shape
    size = _size(node, features)
    assert size is not None
    chunk, rows = size
    buffers, arguments = delta_operands(node)
    constants = {"local_size_x": _lanes(chunk), "CHUNK": chunk, "ROWS": rows, **delta_constants(node)}
    return KernelCall(*VARIANT, buffers, arguments, grid_of(n_seqs * n_heads * ceil(dim / rows)), constants)


KERNELS = (Kernel("gated_delta_net", TAKES, GIVES, _lower, (VARIANT,), rule, OPTIONS),)
