"""Mamba-2 in chunks of tokens, for GPUs: see state_chunks.comp.

tools/reports/scans.py times each size.
"""

from math import ceil

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of
from . import state_scan

Size = tuple[int, int]  # tokens of a chunk, rows of the state
VARIANT: Variant = ("state_chunks", ())
SIZES: tuple[Size, ...] = ((64, 32), (32, 32), (32, 16), (64, 16), (32, 64))
SIDE = 16  # lanes that share four tokens
forced: Size | None = None  # a size to take whatever the shape, for those who measure


def rule(node: Node, features: Features) -> str:
    n_tokens, n_state = node.inputs[0].shape[1], node.inputs[1].shape[3]
    return refusal(n_tokens, n_state, _size(node, features), forced, features)


def refusal(n_tokens: int, n_state: int, size: Size | None, wanted: Size | None, features: Features) -> str:
    """Why a scan is not taken in chunks: `size` is what would fit, `wanted` what is taken of however few tokens."""
    if features.software or not features.delta_chunks:
        return "chunks: for GPUs"
    if n_tokens < features.tuning.delta_tokens and not wanted:
        return f"chunks: {n_tokens} tokens, at least {features.tuning.delta_tokens}"
    if size is None:
        return f"chunks: {features.shared_nbytes} bytes of shared memory are too few for {n_state} columns"
    return ""


def _size(node: Node, features: Features) -> Size | None:
    """As measured on an H100: 32 rows where they divide a head's, and then chunks as long as fit."""
    if forced:
        return forced
    dim, n_state = node.inputs[0].shape[3], node.inputs[1].shape[3]
    small = (
        s for s in (SIZES[:2] if dim % 32 == 0 else SIZES[2:3]) if shared_nbytes(*s, n_state) <= features.shared_nbytes
    )
    return next((s for s in small if _lanes(s[0]) <= features.max_workgroup), None)


def _lanes(chunk: int) -> int:
    return chunk // 4 * SIDE


def shared_nbytes(chunk: int, rows: int, n_state: int) -> int:
    """What state_chunks.comp declares."""
    pairs = 4 * max(chunk, 2 * (1024 // chunk)) * (chunk // 4 + 1)
    return 4 * (rows * (n_state + 1) + pairs + chunk * rows + 4 * chunk + 1)


def _lower(node: Node, features: Features) -> KernelCall:
    x, b = node.inputs[:2]
    n_seqs, _, n_heads, dim = x.shape
    size = _size(node, features)
    assert size is not None
    chunk, rows = size
    sizes = {"local_size_x": _lanes(chunk), "SIDE": SIDE, "CHUNK": chunk, "ROWS": rows}
    buffers, arguments = state_scan.operands(node, state_scan.given(node), {})
    grid = grid_of(n_seqs * n_heads * ceil(dim / rows))
    return KernelCall(*VARIANT, buffers, arguments, grid, {**sizes, **state_scan.sizes(node, x, b)})


KERNELS = (Kernel("mamba2", state_scan.MAMBA, state_scan.GIVES, _lower, (VARIANT,), rule),)
