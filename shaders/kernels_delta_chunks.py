"""The gated delta rule in chunks of tokens, for GPUs: see delta_chunks.comp."""

from ..runtime.graph import Node
from .delta_operands import delta_constants, delta_operands, refuses_delta
from .kernel import Features, Kernel, KernelCall, Variant, grid_of

VARIANT: Variant = ("delta_chunks", ())
SIZES = ((64, 32), (64, 16), (32, 32), (32, 16), (32, 8))  # tokens of a chunk, rows of the state; best first
STEP = 16  # columns staged at a time
FEWEST_TOKENS = 64


def refuses(node: Node, features: Features) -> str:
    n_tokens, dim = node.inputs[2].shape[1], node.inputs[2].shape[3]
    if features.software or not features.delta_chunks:
        return "chunks: for GPUs"
    if n_tokens < FEWEST_TOKENS:
        return f"chunks: {n_tokens} tokens, at least {FEWEST_TOKENS}"
    if _size(dim, features) is None:
        return f"chunks: {features.shared_nbytes} bytes of shared memory are too few for heads of {dim}"
    return refuses_delta(node, features)


def _size(dim: int, features: Features) -> tuple[int, int] | None:
    """The best of SIZES that the device has room for."""
    able = (
        s for s in SIZES if shared_nbytes(*s, dim) <= features.shared_nbytes and _lanes(s[0]) <= features.max_workgroup
    )
    return next(able, None)


def _lanes(chunk: int) -> int:
    return (chunk // 4) ** 2


def shared_nbytes(chunk: int, rows: int, dim: int) -> int:
    """What delta_chunks.comp declares."""
    pairs = 4 * max(chunk, 2 * STEP) * (chunk // 4 + 1)
    return 4 * (rows * (dim + 1) + pairs + chunk * (rows + 1) + 6 * chunk)


def _lower(node: Node, features: Features) -> KernelCall:
    n_seqs, _, n_heads, dim = node.inputs[2].shape
    size = _size(dim, features)
    assert size is not None
    chunk, rows = size
    args, push = delta_operands(node)
    constants = delta_constants(node)
    spec = (_lanes(chunk), 0, 0, *constants[:5], chunk, rows, *constants[5:])
    return KernelCall(*VARIANT, args, push, grid_of(n_seqs * n_heads * -(-dim // rows)), spec)


KERNELS = (Kernel("gated_delta_net", refuses, _lower, (VARIANT,)),)
