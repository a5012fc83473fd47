"""Kimi's delta rule in chunks of tokens, for GPUs: see kimi_chunks.comp. tools/reports/scans.py times both sizes."""

from math import ceil

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of
from . import state_scan
from .state_chunks import Size, refusal

VARIANT: Variant = ("kimi_chunks", ())
CHUNK = 16
SIZES: tuple[Size, ...] = ((CHUNK, 32), (CHUNK, 16))  # tokens of a chunk, rows of the state, and a lane each in a row
forced: Size | None = None  # a size to take whatever the shape, for those who measure


def rule(node: Node, features: Features) -> str:
    n_tokens, n_state = node.inputs[0].shape[1], node.inputs[0].shape[3]
    return refusal(n_tokens, n_state, _size(node, features), forced, features)


def _size(node: Node, features: Features) -> Size | None:
    if forced:
        return forced
    n_state, dim = node.inputs[0].shape[3], node.inputs[2].shape[3]
    small = (s for s in SIZES[int(dim <= 16) :] if shared_nbytes(*s, n_state) <= features.shared_nbytes)
    return next((s for s in small if CHUNK // 4 * s[1] <= features.max_workgroup), None)


def shared_nbytes(chunk: int, rows: int, n_state: int) -> int:
    """What kimi_chunks.comp declares."""
    tiles = 4 * 32 * 4 * (chunk // 4 + 1)
    return 4 * (rows * (n_state + 1) + (chunk + 1) * n_state + tiles + chunk * (rows + 2 * chunk + 3))


def _lower(node: Node, features: Features) -> KernelCall:
    k, v = node.inputs[1:3]
    n_seqs, _, n_heads, dim = v.shape
    size = _size(node, features)
    assert size is not None
    _, rows = size
    sizes = {"local_size_x": CHUNK // 4 * rows, "SIDE": rows, "ROWS": rows, **state_scan.sizes(node, v, k)}
    buffers, arguments = state_scan.operands(node, *state_scan.given_to_kimi(node))
    return KernelCall(*VARIANT, buffers, arguments, grid_of(n_seqs * n_heads * ceil(dim / rows)), sizes)


KERNELS = (Kernel("kimi_delta", state_scan.KIMI, state_scan.GIVES, _lower, (VARIANT,), rule),)
