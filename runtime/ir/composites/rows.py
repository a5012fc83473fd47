"""Norms with what stands before or after them."""

import numpy as np

from ..editing import Editing, is_same, whole
from ..graph import Graph, Node
from ..ops import OPS
from ..ops.op import Op, OpKind, Spec, register, require
from ..patterns import Fusion, make, maker, only_reader, readers, scope_of, stands
from ..tensor import Tensor

Array = np.ndarray


def _add_rms_norm_infer(x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Spec, Spec]:
    """x, y [N, E], w [E] -> s = x + y, and rms_norm(s) * w."""
    require(x.shape == y.shape, "add_rms_norm", f"x {x.shape}, y {y.shape}")
    require(w.shape == x.shape[-1:], "add_rms_norm", f"rows of {x.shape[-1]}, weight {w.shape}")
    return Spec(x.shape), Spec(x.shape)


def _add_rms_norm(x: Array, y: Array, w: Array, eps: float) -> tuple[Array, Array]:
    s = x + y
    return s, OPS["rms_norm_scale"].compute(s, w, eps=eps)[0]


def _add_rms_norm_parts(g: Graph, x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    s = g.add(x, y)
    return s, g.rms_norm_scale(s, w, eps)


register(Op("add_rms_norm", _add_rms_norm_infer, _add_rms_norm, _add_rms_norm_parts, OpKind.FUSED))


def _rms_norm_add_infer(x: Tensor, w: Tensor, residual: Tensor, eps: float) -> tuple[Spec]:
    """residual + rms_norm(x) * w. x, residual [N, E], w [E]."""
    require(x.shape == residual.shape, "rms_norm_add", f"x {x.shape}, residual {residual.shape}")
    require(w.shape == x.shape[-1:], "rms_norm_add", f"rows of {x.shape[-1]}, weight {w.shape}")
    return (Spec(x.shape),)


register(
    Op(
        "rms_norm_add",
        _rms_norm_add_infer,
        lambda x, w, residual, eps: (residual + OPS["rms_norm_scale"].compute(x, w, eps=eps)[0],),
        lambda g, x, w, residual, eps: (g.add(residual, g.rms_norm_scale(x, w, eps)),),
        OpKind.FUSED,
    )
)


def _fuse_added(edit: Editing, i: int, node: Node) -> None:
    """A norm and the residual that it is added to."""
    for normed, residual in (node.inputs, node.inputs[::-1]):
        found = maker(edit, normed, "rms_norm_scale", i)
        if found is None or residual.shape != normed.shape or only_reader(edit, normed, found[0], "add") is None:
            continue
        at, norm = found
        if edit.is_written(norm.inputs[0], at + 1, i):
            continue
        fused = make("rms_norm_add", (*norm.inputs, residual), scope_of(node), node.outputs, **norm.attrs)
        if edit.supports(fused):
            edit.remove(at)
            edit.put(i, fused)
            return


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """The residual add and the norm of its sum."""
    (total,) = node.outputs
    norms = [(j, n) for j, n in readers(edit, total, i) if n.op == "rms_norm_scale" and stands(edit, j, n)]
    if len(norms) != 1 or not is_same(norms[0][1].inputs[0], total) or not whole(total):
        return
    if node.inputs[0].shape != node.inputs[1].shape:
        return
    j, norm = norms[0]
    outs = (total, norm.outputs[0])
    fused = make("add_rms_norm", (*node.inputs, norm.inputs[1]), scope_of(norm), outs, eps=norm.attrs["eps"])
    if edit.supports(fused):
        edit.put(i, fused)
        edit.remove(j)


FUSIONS = (Fusion("add", _fuse_added), Fusion("add", _fuse))
