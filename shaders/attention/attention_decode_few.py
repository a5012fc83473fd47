"""Attention of one token in parts of few keys, also with its inputs made on the way: see attention_decode_few.comp."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Features, KernelCall, Variant
from . import attention_inputs
from .attention_args import DIMS, FEWEST_HEADS, chunks, given_parts, grid_of_parts

LOCAL, MOST_KEYS = 256, 32  # of a part
VARIANTS: tuple[Variant, ...] = (("attention_decode_few", ()),)
SHARED_NBYTES = 8 * 16 * LOCAL + 2 * 4 * LOCAL  # at most


def rule(node: Node, features: Features) -> str:
    q, k = node.inputs[:2]
    return _refusal(node, q, k, features, SHARED_NBYTES)


def _refusal(node: Node, q: Tensor, k: Tensor, features: Features, shared_nbytes: int) -> str:
    dim = q.shape[3]
    if features.software or features.max_workgroup < LOCAL or features.shared_nbytes < shared_nbytes:
        return f"few keys: not a GPU of workgroups of {LOCAL} with {shared_nbytes} bytes shared"
    if dim not in DIMS or not dim // 8 <= features.subgroup_size <= LOCAL:
        return (
            f"few keys: heads of {dim}, of {DIMS}, by subgroups of {features.subgroup_size}, at least an eighth of them"
        )
    heads, n_keys = chunks(q, k)["HEADS"], -(-node.attrs["n_kv"] // node.attrs["n_split"])
    fits = heads >= FEWEST_HEADS and n_keys <= MOST_KEYS
    return "" if fits else f"few keys: {heads} heads of {FEWEST_HEADS}, {n_keys} keys a part, at most {MOST_KEYS}"


def keys_of_team(n_keys: int, dim: int) -> int:
    """Of a part's, of each of the teams of an eighth of a head's invocations."""
    return 1 << (-(-n_keys * (dim // 8) // LOCAL) - 1).bit_length()


def lower(node: Node, features: Features) -> KernelCall:
    q, k = node.inputs[:2]
    grid, known = grid_of_parts(node, q, k), _known(node, q, k, features)
    return KernelCall("attention_decode_few", (), *given_parts(node), grid, known)


def _known(node: Node, q: Tensor, k: Tensor, features: Features) -> dict[str, int]:
    n_keys = -(-node.attrs["n_kv"] // node.attrs["n_split"])
    known = {"local_size_x": LOCAL, "SUBGROUP": features.subgroup_size, **chunks(q, k)}
    return {**known, "CAPPED": int(node.attrs.get("cap", 0) > 0), "KEYS": keys_of_team(n_keys, q.shape[3])}


def _rope_rule(node: Node, features: Features) -> str:
    why, nbytes = attention_inputs.refusal(node), SHARED_NBYTES + attention_inputs.own_nbytes(max(DIMS))
    return why or _refusal(node, node.inputs[0], node.inputs[6], features, nbytes)


KERNELS = (attention_inputs.kernel_in_parts("attention_decode_few", _known, _rope_rule),)
