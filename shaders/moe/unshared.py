"""Mixtures without a shared expert, or with one that no gate opens: to every kernel of a mixture with both, its shared
expert has no rows, or is open."""

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from ...runtime.ir.graph import Node
from ..kernel import Constants, Features, Kernel, KernelCall
from .kernels import KERNELS as WITH_SHARED

NONE = {"extra": ()}  # of experts_gate_up and route_gate_up
RESIDUAL = {"extra": ("residual",)}  # of experts_down
UNGATED = {"extra": ("shared", "shared_down", "residual")}  # of experts_down


def _gate_up(node: Node) -> Node:
    x, gate, up, ids = node.inputs
    none = (w.select(0, 0).slice(0, 0, 0) for w in (gate, up))
    (y,) = node.outputs
    return replace(node, inputs=(x, gate, up, ids, *none), outputs=(y, y.select(1, 0).slice(1, 0, 0)), attrs={})


def _routed(node: Node) -> Node:
    logits, x, gate, up = node.inputs
    none = (w.select(0, 0).slice(0, 0, 0) for w in (gate, up))
    y, *routed = node.outputs
    outs = (y, y.select(1, 0).slice(1, 0, 0), *routed)
    return replace(node, inputs=(logits, x, gate, up, *none), outputs=outs, attrs={"k": node.attrs["k"]})


def _down(node: Node) -> Node:
    hidden, down, ids, weights, residual = node.inputs
    nothing = hidden.select(1, 0).slice(1, 0, 0)
    shared = nothing, down.select(0, 0), weights.slice(1, 0, 1)  # the gate of nothing is any number
    return replace(node, inputs=(hidden, down, ids, weights, *shared, residual), attrs={})


def _open(node: Node) -> Node:
    hidden, down, ids, weights, shared, shared_down, residual = node.inputs
    shared = shared, shared_down, weights.slice(1, 0, 1)  # the gate of what is open is any number
    return replace(node, inputs=(hidden, down, ids, weights, *shared, residual), attrs={})


def _twins() -> Iterator[Kernel]:
    for kernel in WITH_SHARED:
        if kernel.op == "experts_gate_up":
            takes = {name: kernel.takes[name] for name in ("x", "gate", "up", "ids")}
            yield _twin(kernel, takes, {"y": kernel.gives["y"]}, _gate_up, NONE)
        elif kernel.op == "route_gate_up":
            takes = {name: kernel.takes[name] for name in ("logits", "x", "gate", "up")}
            gives = {name: kernel.gives[name] for name in ("y", "ids", "weights")}
            yield _twin(kernel, takes, gives, _routed, NONE)
        elif kernel.op == "experts_down":
            takes = {name: kernel.takes[name] for name in ("hidden", "down", "ids", "weights", "residual")}
            yield _twin(kernel, takes, kernel.gives, _down, RESIDUAL)
            takes = {name: kernel.takes[name] for name in kernel.takes if name != "shared_gate"}
            yield _twin(kernel, takes, kernel.gives, _open, UNGATED, {"OPEN": 1})


def _twin(
    kernel: Kernel, takes: dict, gives: dict, padded, attrs: dict, constants: Constants = MappingProxyType({})
) -> Kernel:
    def lower(node: Node, features: Features) -> KernelCall:
        call = kernel.lower(padded(node), features)
        return replace(call, constants={**call.constants, **constants})

    def rule(node: Node, features: Features) -> str:
        given = {name: value for name, value in node.attrs.items() if name != "k"}
        if given != attrs:
            return f"{given}, expected {attrs}"
        return kernel.rule(padded(node), features)

    return replace(kernel, takes=takes, gives=gives, lower=lower, rule=rule, options=frozenset(attrs["extra"]))


KERNELS = tuple(_twins())
