"""Cuts: a node as several of the same op, each over a part of its operands."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .graph import Node
from .ops import OPS, Cut
from .tensor import Tensor


def outermost_cut(node: Node, t: Tensor) -> Cut | None:
    """Where the node can be cut so that each part has less of an operand: along the outermost of its axes."""
    found = [
        (axis, cut)
        for cut in OPS[node.op].cuts(*node.inputs, **node.attrs)
        for operands, axes in _sides(node, cut)
        for i, axis in axes.items()
        if operands[i] is t and _length(node, cut) > 1
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def halves(node: Node, cut: Cut) -> tuple[Node, Node]:
    """The node as two, cut in the middle."""
    n = _length(node, cut)
    return _part(node, cut, 0, n // 2), _part(node, cut, n // 2, n)


def _length(node: Node, cut: Cut) -> int:
    """Of the axis, in the shortest operand."""
    return min(ts[i].shape[axis] for ts, axes in _sides(node, cut) for i, axis in axes.items())


def _sides(node: Node, cut: Cut) -> tuple[tuple[Sequence[Tensor], Mapping[int, int]], ...]:
    return (node.inputs, cut.inputs), (node.outputs, cut.outputs)


def _part(node: Node, cut: Cut, lo: int, hi: int) -> Node:
    n = _length(node, cut)
    ins, outs = (
        tuple(_run(t, axes[i], lo, hi, n) if i in axes else t for i, t in enumerate(ts))
        for ts, axes in _sides(node, cut)
    )
    if not cut.part:
        return replace(node, inputs=ins, outputs=outs)
    if node.op != cut.part:
        ins = (*outs, *ins)
    place = {"first": node.attrs.get("first", 0) + lo, "n_rows": node.attrs.get("n_rows", n)}
    return replace(node, op=cut.part, inputs=ins, outputs=outs, attrs=place)


def _run(t: Tensor, axis: int, lo: int, hi: int, n: int) -> Tensor:
    """Elements [lo, hi) of n along an axis, which may be longer by a factor."""
    each = t.shape[axis] // n
    return t.slice(axis, lo * each, hi * each)
