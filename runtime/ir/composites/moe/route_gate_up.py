"""Routing with what comes after it: the gate and up of the picked experts and of the shared one."""

from typing import Any

import numpy as np

from ...editing import Editing
from ...graph import Graph, Node
from ...ops.op import OPS, Op, OpKind, Out, Work, register
from ...patterns import Fusion, make, readers, scope_of, stands
from ...tensor import Kind, Storage, Tensor
from . import experts as _experts  # noqa: F401  of whose op this is made


def _ids(logits: Tensor, k: int) -> Tensor:
    spec, _ = OPS["route"].infer(logits, k=k)
    return Storage("ids", Kind.TEMP, spec.dtype, spec.shape).tensor()


def _infer(logits: Tensor, x: Tensor, gate: Tensor, up: Tensor, *shared: Tensor, k: int) -> tuple[Out, ...]:
    """logits [N, X] and what experts_gate_up takes but for ids -> what that gives, then ids and weights [N, k]."""
    routed = OPS["route"].infer(logits, k=k)
    return *OPS["experts_gate_up"].infer(x, gate, up, _ids(logits, k), *shared), *routed


def _compute(logits, x, gate, up, *shared: Any, k: int) -> tuple[np.ndarray, ...]:
    ids, weights = OPS["route"].compute(logits, k=k)
    return *OPS["experts_gate_up"].compute(x, gate, up, ids, *shared), ids, weights


def _decompose(g: Graph, logits, x, gate, up, *shared: Tensor, k: int) -> tuple[Tensor, ...]:
    ids, weights = g.emit("route", logits, k=k)
    return *g.emit("experts_gate_up", x, gate, up, ids, *shared), ids, weights


def _work(logits: Tensor, x: Tensor, gate: Tensor, up: Tensor, *shared: Tensor, k: int) -> Work:
    work = OPS["experts_gate_up"].work(x, gate, up, _ids(logits, k), *shared)
    return Work({i + 1: n for i, n in work.reads.items()}, flops=work.flops)


register(Op("route_gate_up", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """Routing, and the experts' gate and up as the first that read its ids."""
    (logits, *bias), (ids, weights) = node.inputs, node.outputs
    found = readers(edit, ids, i)
    if bias or set(node.attrs) != {"k"} or not found or not stands(edit, *found[0]):
        return
    at, experts = found[0]
    if experts.op != "experts_gate_up" or experts.attrs or edit.is_read(weights, i + 1, at):
        return
    if edit.is_written(logits, i + 1, at):
        return
    x, gate, up, _, *shared = experts.inputs
    outs = (*experts.outputs, ids, weights)
    fused = make("route_gate_up", (logits, x, gate, up, *shared), scope_of(experts), outs, k=node.attrs["k"])
    if edit.supports(fused):
        edit.remove(i)
        edit.put(at, fused)


FUSIONS = (Fusion("route", _fuse),)
