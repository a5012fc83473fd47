"""The largest of long rows in two steps: of parts side by side, then among what those gave."""

import numpy as np

from ..dtypes import DType
from ..editing import Editing
from ..graph import Node
from ..ops import OPS
from ..ops.op import Op, OpKind, Spec, Work, register, require, require_dtype
from ..patterns import Fusion, make, scope_of
from ..tensor import Tensor

Array = np.ndarray
LONG = 16384  # columns of a row that is worth a second dispatch
MOST, N_PARTS = 64, 16  # of a row; whoever wants more takes whole rows
PART_OF_ONE = 2048  # columns of a part of which one is wanted


def _parts_infer(x: Tensor, k: int, n_part: int) -> tuple[Spec]:
    """x [..., n] -> ids [..., k * n_parts]: of each part of n_part columns, of which the last may have fewer, the k
    largest as top_k has them: the largest of each part, then the second of each, and so on."""
    require_dtype("top_k_parts", x, DType.F32)
    n, n_parts = x.shape[-1], -(-x.shape[-1] // max(n_part, 1))
    ok = 0 < k <= min(n_part, n, n - (n_parts - 1) * n_part)
    require(ok, "top_k_parts", f"k {k} of parts of {n_part} of rows of {n}")
    return (Spec((*x.shape[:-1], k * n_parts), DType.I32),)


def _parts(x: Array, k: int, n_part: int) -> tuple[Array]:
    firsts = range(0, x.shape[-1], n_part)
    best = [first + OPS["top_k"].compute(x[..., first : first + n_part], k=k)[0] for first in firsts]
    return (np.stack(best, -1).reshape(*x.shape[:-1], k * len(firsts)).astype(np.int32),)


register(Op("top_k_parts", _parts_infer, _parts, kind=OpKind.FUSED))


def _among_infer(x: Tensor, ids: Tensor, k: int) -> tuple[Spec]:
    """x [..., n], ids [..., m] of columns of x -> top_k of those columns alone [..., k]."""
    require_dtype("top_k_among", x, DType.F32)
    require_dtype("top_k_among", ids, DType.I32)
    ok = x.shape[:-1] == ids.shape[:-1] and 0 < k <= ids.shape[-1] and x.shape[-1] > 0
    require(ok, "top_k_among", f"k {k}, x {x.shape}, ids {ids.shape}")
    return (Spec((*x.shape[:-1], k), DType.I32),)


def _among(x: Array, ids: Array, k: int) -> tuple[Array]:
    ids = np.sort(np.clip(ids, 0, x.shape[-1] - 1), -1)
    (best,) = OPS["top_k"].compute(np.take_along_axis(x, ids, -1), k=k)
    return (np.take_along_axis(ids, best, -1),)


def _among_work(_x: Tensor, ids: Tensor, **_attrs: object) -> Work:
    return Work(reads={0: ids.layout.n_elements})


register(Op("top_k_among", _among_infer, _among, kind=OpKind.FUSED, work=_among_work))


def _fuse_parts(edit: Editing, i: int, node: Node) -> None:
    (x,), k = node.inputs, node.attrs["k"]
    if x.shape[-1] < LONG or k > MOST:
        return
    n_part = PART_OF_ONE if k == 1 else -(-x.shape[-1] // (32 * N_PARTS)) * 32
    parts = make("top_k_parts", (x,), scope_of(node), k=k, n_part=n_part)
    among = make("top_k_among", (x, parts.outputs[0]), scope_of(node), node.outputs, k=k)
    if edit.supports(parts) and edit.supports(among):
        edit.put(i, parts, among)


FUSIONS = (Fusion("top_k", _fuse_parts),)
