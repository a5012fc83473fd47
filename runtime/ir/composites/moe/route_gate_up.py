"""Routing with what comes after it: the gate and up of the picked experts, and of the shared one where there is one."""

from typing import Any

import numpy as np

from ...editing import Editing
from ...graph import Graph, Node
from ...ops.op import OPS, Op, OpKind, Out, Work, register, require
from ...patterns import Fusion, make, readers, scope_of, stands
from ...tensor import Kind, Storage, Tensor
from .experts import SHARED_IN


def _ids(logits: Tensor, k: int) -> Tensor:
    spec, _ = OPS["route"].infer(logits, k=k)
    return Storage("ids", Kind.TEMP, spec.dtype, spec.shape).tensor()


def _infer(
    logits: Tensor, x: Tensor, gate: Tensor, up: Tensor, *shared: Tensor, k: int, extra: tuple[str, ...] = SHARED_IN
) -> tuple[Out, ...]:
    """logits [N, X] and what experts_gate_up takes but for ids -> what that gives, then ids and weights [N, k]. extra:
    () without a shared expert."""
    require(extra in ((), SHARED_IN), "route_gate_up", f"extra {extra}")
    routed = OPS["route"].infer(logits, k=k)
    return *OPS["experts_gate_up"].infer(x, gate, up, _ids(logits, k), *shared, extra=extra), *routed


def _compute(logits, x, gate, up, *shared: Any, k: int, extra=SHARED_IN) -> tuple[np.ndarray, ...]:
    ids, weights = OPS["route"].compute(logits, k=k)
    return *OPS["experts_gate_up"].compute(x, gate, up, ids, *shared, extra=extra), ids, weights


def _decompose(g: Graph, logits, x, gate, up, *shared: Tensor, k: int, extra=SHARED_IN) -> tuple[Tensor, ...]:
    ids, weights = g.emit("route", logits, k=k)
    named = {"extra": extra} if extra != SHARED_IN else {}
    return *g.emit("experts_gate_up", x, gate, up, ids, *shared, **named), ids, weights


def _work(logits: Tensor, x: Tensor, gate: Tensor, up: Tensor, *shared: Tensor, k: int, extra=SHARED_IN) -> Work:
    work = OPS["experts_gate_up"].work(x, gate, up, _ids(logits, k), *shared, extra=extra)
    return Work({i + 1: n for i, n in work.reads.items()}, flops=work.flops)


register(Op("route_gate_up", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """Routing, and the experts' gate and up as the first that read its ids."""
    (logits, *bias), (ids, weights) = node.inputs, node.outputs
    found = readers(edit, ids, i)
    if bias or set(node.attrs) != {"k"} or not found or not stands(edit, *found[0]):
        return
    at, experts = found[0]
    if experts.op != "experts_gate_up" or dict(experts.attrs) not in ({}, {"extra": ()}):
        return
    if edit.is_read(weights, i + 1, at) or edit.is_written(logits, i + 1, at):
        return
    x, gate, up, _, *shared = experts.inputs
    outs = (*experts.outputs, ids, weights)
    ins, attrs = (logits, x, gate, up, *shared), {**node.attrs, **experts.attrs}
    fused = make("route_gate_up", ins, scope_of(experts), outs, **attrs)
    if edit.supports(fused):
        edit.remove(i)
        edit.put(at, fused)


FUSIONS = (Fusion("route", _fuse),)
