"""A gated linear unit on its way into the product that reads it, with the residual that the product is added to."""

from collections.abc import Callable

import numpy as np

from ..editing import Editing, is_same
from ..graph import Graph, Node
from ..ops.op import OPS, Op, OpKind, Out, Work, named_operands, register, require
from ..patterns import Fusion, make, only_reader, scope_of
from ..tensor import Kind, Tensor
from .moe.glu import GLUS


def _infer(
    w: Tensor, gate: Tensor, up: Tensor, *more: Tensor, extra: tuple[str, ...] = (), activation: str = "silu"
) -> tuple[Out]:
    """glu(gate, up) w^T. w [M, K]; gate, up [N, K]; extra "residual" [N, M], to which it is added -> [N, M]."""
    require(gate.shape == up.shape and activation in GLUS, "glu_mul_mat", f"gate {gate.shape}, up {up.shape}")
    require(w.ndim == gate.ndim == 2, "glu_mul_mat", f"w {w.shape}, gate {gate.shape}")
    (out,) = OPS["mul_mat"].infer(w, gate)
    named_operands("glu_mul_mat", extra, more, {"residual": out.shape})
    return (out,)


def _compute(w, gate, up, *residual: np.ndarray, extra=(), activation="silu") -> tuple[np.ndarray]:
    x = GLUS[activation].compute(gate.astype(np.float64), up.astype(np.float64)).astype(np.float32)
    return (sum(residual, x @ np.asarray(w).T),)


def _parts(g: Graph, w, gate, up, *residual: Tensor, extra=(), activation="silu") -> tuple[Tensor]:
    made = g.mul_mat(w, GLUS[activation].parts(g, gate, up))
    return (g.add(residual[0], made) if residual else made,)


def _work(w: Tensor, gate: Tensor, *_more: Tensor, **_attrs: object) -> Work:
    return Work(flops=2 * gate.layout.n_elements * w.shape[0])


register(Op("glu_mul_mat", _infer, _compute, _parts, OpKind.FUSED, work=_work))


def _fuse(activation: str) -> Callable[[Editing, int, Node], None]:
    def rule(edit: Editing, i: int, node: Node) -> None:
        """A gate with what it opens, and the product that alone reads it."""
        (x,) = node.outputs
        found = only_reader(edit, x, i, "mul_mat")
        if found is None or any(edit.is_written(t, i + 1, found[0]) for t in node.inputs):
            return
        at, product = found
        w = product.inputs[0]
        if w.storage.kind is not Kind.WEIGHT or w.ndim != 2 or x.ndim != 2 or not is_same(product.inputs[1], x):
            return
        fused = make("glu_mul_mat", (w, *node.inputs), scope_of(product), product.outputs, activation=activation)
        if edit.supports(fused):
            edit.remove(i)
            edit.put(at, fused)

    return rule


def _fuse_residual(edit: Editing, i: int, node: Node) -> None:
    """What its product is added to."""
    (made,) = node.outputs
    found = only_reader(edit, made, i, "add")
    if found is None or node.attrs.get("extra"):
        return
    at, add = found
    residual = next((t for t in add.inputs if t.storage is not made.storage), None)
    if residual is None or residual.shape != made.shape or any(edit.is_written(t, i + 1, at) for t in node.inputs):
        return
    attrs = {**node.attrs, "extra": ("residual",)}
    fused = make("glu_mul_mat", (*node.inputs, residual), scope_of(node), add.outputs, **attrs)
    if edit.supports(fused):
        edit.remove(i)
        edit.put(at, fused)


_GATES = Fusion("swiglu", _fuse("silu")), Fusion("geglu", _fuse("gelu"))
FUSIONS = (*_GATES, Fusion("glu_mul_mat", _fuse_residual))
