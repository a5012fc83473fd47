"""Attention of one token over long caches by cooperative matrices, also with its inputs made on the way: see
attention_decode_matrix.comp."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Features, KernelCall, Variant
from . import attention_inputs
from .attention_args import DIMS, FEWEST_HEADS, chunks, given_parts, grid_of_parts

FEWEST_KEYS = 2048  # planned, below which the kernel without matrices is as fast
PARTS = 8  # subgroups of a workgroup
VARIANTS: tuple[Variant, ...] = (("attention_decode_matrix", ()),)


def shared_nbytes(dim: int) -> int:
    """What attention_decode_matrix.comp declares where inputs come made."""
    tile = 128 if dim > 128 else 256
    return 16 * (16 * (dim // 8 + 1) + 16 * (tile // 8 + 1) + PARTS * 160) + 1024


def rule(node: Node, features: Features) -> str:
    q, k = node.inputs[:2]
    return _refusal(node, q, k, features, shared_nbytes(q.shape[3]))


def _refusal(node: Node, q: Tensor, k: Tensor, features: Features, nbytes: int) -> str:
    dim = q.shape[3]
    if (16, 16, 16) not in features.cooperative_matrix or not features.float16 or not features.subgroup_size:
        return "matrices: for devices with cooperative matrices of 16 x 16 x 16 halves"
    local = PARTS * features.subgroup_size
    if local > features.max_workgroup or dim not in DIMS or nbytes > features.shared_nbytes:
        return f"matrices: heads of {dim}, {features.max_workgroup} invocations, {features.shared_nbytes} bytes shared"
    heads = chunks(q, k)["HEADS"]
    fits = heads >= FEWEST_HEADS and node.attrs["n_kv"] >= FEWEST_KEYS
    return "" if fits else f"matrices: {heads} heads of {FEWEST_HEADS}, {node.attrs['n_kv']} keys of {FEWEST_KEYS}"


def lower(node: Node, features: Features) -> KernelCall:
    q, k = node.inputs[:2]
    grid, known = grid_of_parts(node, q, k), _known(node, q, k, features)
    return KernelCall("attention_decode_matrix", (), *given_parts(node), grid, known)


def _known(_node: Node, q: Tensor, k: Tensor, features: Features) -> dict[str, int]:
    return {"local_size_x": PARTS * features.subgroup_size, **chunks(q, k)}


def _rope_rule(node: Node, features: Features) -> str:
    dim = node.inputs[0].shape[3]
    if dim // 8 > features.subgroup_size:
        return f"matrices: heads of {dim} by subgroups of {features.subgroup_size}, expected at least an eighth"
    why, nbytes = attention_inputs.refusal(node), shared_nbytes(dim) + attention_inputs.own_nbytes(dim)
    return why or _refusal(node, node.inputs[0], node.inputs[6], features, nbytes)


KERNELS = (attention_inputs.kernel_in_parts("attention_decode_matrix", _known, _rope_rule),)
