"""Kernels of solve_tri, ssm_conv and rope: what attention and delta net need beside products. All take any strides."""

from ..runtime.graph import Node
from ..runtime.tensor import Tensor
from .kernel import At, Features, Kernel, KernelCall, grid_of


def _four(t: Tensor) -> Tensor:
    for _ in range(4 - t.ndim):
        t = t.unsqueeze(0)
    return t


def _any(node: Node, features: Features) -> str:
    return ""


def _local(features: Features) -> int:
    """A workgroup that fills a GPU's widest subgroup; on a CPU one SIMD register, so that there are more to share."""
    return 8 if features.software else 64


def _solve_tri(node: Node, features: Features) -> KernelCall:
    local, (a, b, x) = _local(features), map(_four, (*node.inputs, *node.outputs))
    strides = (*a.layout.strides, *b.layout.strides, *x.layout.strides)
    n_groups = -(-x.shape[3] // local) * x.shape[0] * x.shape[1]
    push = (At(0), At(1), At(2), *x.shape, *strides)
    return KernelCall("solve_tri", (), (*node.inputs, *node.outputs), push, grid_of(n_groups), (local,))


def _ssm_conv(node: Node, features: Features) -> KernelCall:
    local, (x, w), (y,) = _local(features), node.inputs, node.outputs
    strides = (*x.layout.strides, *w.layout.strides, *y.layout.strides)
    n_groups = -(-y.shape[2] // local) * y.shape[0] * y.shape[1]
    push = (At(0), At(1), At(2), *y.shape, w.shape[1], *strides)
    return KernelCall("ssm_conv", (), (x, w, y), push, grid_of(n_groups), (local,))


def _rope(node: Node, features: Features) -> KernelCall:
    (x, pos, table), (y,) = node.inputs, node.outputs
    strides = tuple(s for t in (x, pos, table, y) for s in t.layout.strides)
    n_groups = x.shape[0] * x.shape[1] * x.shape[2]
    push = (At(0), At(1), At(2), At(3), *x.shape, table.shape[1] // 2, table.shape[0], *strides)
    return KernelCall("rope", (), (x, pos, table, y), push, grid_of(n_groups), (_local(features),))


KERNELS: tuple[Kernel, ...] = tuple(
    Kernel(op, _any, lower, ((op, ()),))
    for op, lower in (("solve_tri", _solve_tri), ("ssm_conv", _ssm_conv), ("rope", _rope))
)
