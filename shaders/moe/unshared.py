"""Mixtures without a shared expert: to every kernel of a mixture with one, its shared expert has no rows."""

from collections.abc import Iterator
from dataclasses import replace

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall
from .kernels import KERNELS as WITH_SHARED

NONE = {"extra": ()}  # of experts_gate_up
RESIDUAL = {"extra": ("residual",)}  # of experts_down


def _gate_up(node: Node) -> Node:
    x, gate, up, ids = node.inputs
    none = (w.select(0, 0).slice(0, 0, 0) for w in (gate, up))
    (y,) = node.outputs
    return replace(node, inputs=(x, gate, up, ids, *none), outputs=(y, y.select(1, 0).slice(1, 0, 0)), attrs={})


def _down(node: Node) -> Node:
    hidden, down, ids, weights, residual = node.inputs
    nothing = hidden.select(1, 0).slice(1, 0, 0)
    shared = nothing, down.select(0, 0), weights.slice(1, 0, 1)  # the gate of nothing is any number
    return replace(node, inputs=(hidden, down, ids, weights, *shared, residual), attrs={})


def _twins() -> Iterator[Kernel]:
    for kernel in WITH_SHARED:
        if kernel.op == "experts_gate_up":
            takes = {name: kernel.takes[name] for name in ("x", "gate", "up", "ids")}
            yield _twin(kernel, takes, {"y": kernel.gives["y"]}, _gate_up, NONE)
        elif kernel.op == "experts_down":
            takes = {name: kernel.takes[name] for name in ("hidden", "down", "ids", "weights", "residual")}
            yield _twin(kernel, takes, kernel.gives, _down, RESIDUAL)


def _twin(kernel: Kernel, takes: dict, gives: dict, padded, attrs: dict) -> Kernel:
    def lower(node: Node, features: Features) -> KernelCall:
        return kernel.lower(padded(node), features)

    def rule(node: Node, features: Features) -> str:
        if dict(node.attrs) != attrs:
            return f"{dict(node.attrs)}, expected {attrs}"
        return kernel.rule(padded(node), features)

    return replace(kernel, takes=takes, gives=gives, lower=lower, rule=rule, options=frozenset(attrs["extra"]))


KERNELS = tuple(_twins())
