"""The gated delta rule in chunks of tokens, for GPUs: see delta_chunks.comp."""

from ..runtime.graph import Node
from .delta_operands import delta_constants, delta_operands, refuses_delta
from .kernel import Features, Kernel, KernelCall, Variant, grid_of

VARIANT: Variant = ("delta_chunks", ())
LANES = 256
SIZES = ((64, 32), (64, 16), (32, 32), (32, 16), (16, 16))  # tokens of a chunk, rows of the state; best first
FEWEST_TOKENS = 64


def refuses(node: Node, features: Features) -> str:
    n_tokens, dim = node.inputs[2].shape[1], node.inputs[2].shape[3]
    if features.software or not features.delta_chunks or features.max_workgroup < LANES:
        return f"chunks: for GPUs with workgroups of {LANES}"
    if n_tokens < FEWEST_TOKENS:
        return f"chunks: {n_tokens} tokens, at least {FEWEST_TOKENS}"
    if not any(shared_nbytes(*size, dim) <= features.shared_nbytes for size in SIZES):
        return f"chunks: {features.shared_nbytes} bytes of shared memory are too few for heads of {dim}"
    return refuses_delta(node, features)


def shared_nbytes(chunk: int, rows: int, dim: int) -> int:
    """What delta_chunks.comp declares."""
    pairs = max(chunk * (chunk + 1), 2 * chunk * 17)
    return 4 * (rows * (dim + 1) + pairs + chunk * (rows + 1) + 6 * chunk)


def _lower(node: Node, features: Features) -> KernelCall:
    n_seqs, _, n_heads, dim = node.inputs[2].shape
    chunk, rows = next(size for size in SIZES if shared_nbytes(*size, dim) <= features.shared_nbytes)
    args, push = delta_operands(node)
    constants = delta_constants(node)
    spec = (0, 0, 0, *constants[:5], chunk, rows, *constants[5:])
    return KernelCall(*VARIANT, args, push, grid_of(n_seqs * n_heads * -(-dim // rows)), spec)


KERNELS = (Kernel("gated_delta_net", refuses, _lower, (VARIANT,)),)
