"""Mutants: an op's meaning with one thing wrong. Here are those of every op, in special.py those of single ops."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.ir.tensor import Tensor

from .judge import Array
from .trial import Trial

Compute = Callable[..., tuple[Array, ...]]
Change = Callable[[Array], Array]


class Unfit(Exception):
    """The mutation changes nothing about this case, or makes no sense of it."""


@dataclass(frozen=True)
class Mutant:
    """wrong(compute, node): the node's meaning with one thing wrong; it or its call raises Unfit."""

    name: str
    wrong: Callable[[Compute, Node], Compute]


def of_input(name: str, i: int, change: Change) -> Mutant:
    """Input i is changed before the op sees it."""

    def wrong(compute: Compute, _node: Node) -> Compute:
        def run(*inputs, **attrs):
            if i >= len(inputs):
                raise Unfit
            return compute(*inputs[:i], _changed(inputs[i], change), *inputs[i + 1 :], **attrs)

        return run

    return Mutant(name, wrong)


def of_output(name: str, i: int, change: Change) -> Mutant:
    """Output i is changed."""

    def wrong(compute: Compute, _node: Node) -> Compute:
        def run(*inputs, **attrs):
            outputs = compute(*inputs, **attrs)
            if i >= len(outputs):
                raise Unfit
            return *outputs[:i], _changed(outputs[i], change), *outputs[i + 1 :]

        return run

    return Mutant(name, wrong)


def _changed(x: Array, change: Change) -> Array:
    x = np.asarray(x)
    made = change(x)
    if made.shape != x.shape or made.tobytes() == x.astype(made.dtype).tobytes():
        raise Unfit
    return made


def of_attr(name: str, attr: str, change: Callable) -> Mutant:
    """An attribute is another, as long as the op's shape rule allows it and makes the same shapes of it."""

    def wrong(compute: Compute, node: Node) -> Compute:
        if attr not in node.attrs:
            raise Unfit
        changed = {**node.attrs, attr: change(node.attrs[attr])}
        _require_same_shapes(node, changed)
        return lambda *inputs, **_attrs: compute(*inputs, **changed)

    return Mutant(name, wrong)


def _require_same_shapes(node: Node, attrs: dict) -> None:
    if attrs == node.attrs or not _makes_the_same(node, node.inputs, attrs):
        raise Unfit


def _makes_the_same(node: Node, inputs: tuple[Tensor, ...], attrs: dict) -> bool:
    """Does the op's shape rule allow these, and make the node's shapes of them?"""
    try:
        made = OPS[node.op].infer(*inputs, **attrs)
    except VkrunError:
        return False
    return [m.shape for m in made] == [t.shape for t in node.outputs]


def without(option: str) -> Mutant:
    """An option is not chosen, or an operand that need not be there is not; nor are as few others as it takes."""

    def wrong(compute: Compute, node: Node) -> Compute:
        chosen = OPS[node.op].options_of(node.attrs) | set(_extra(node))
        if option not in chosen:
            raise Unfit
        others = sorted(chosen - {option})
        for left_out in ({option, *more} for n in range(len(others) + 1) for more in combinations(others, n)):
            kept, attrs = _left(node, left_out)
            if _makes_the_same(node, tuple(node.inputs[i] for i in kept), attrs):
                return lambda *inputs, **_attrs: compute(*(inputs[i] for i in kept), **attrs)
        raise Unfit

    return Mutant(f"{option} not chosen", wrong)


def _extra(node: Node) -> tuple[str, ...]:
    return node.attrs.get("extra", OPS[node.op].options.get("extra", ()))


def _left(node: Node, left_out: set[str]) -> tuple[list[int], dict]:
    """Which inputs are left without some options, and the attributes."""
    extra = _extra(node)
    first = len(node.inputs) - len(extra)
    kept = [i for i in range(len(node.inputs)) if i < first or extra[i - first] not in left_out]
    attrs = {name: value for name, value in node.attrs.items() if name not in left_out}
    return kept, attrs | ({"extra": tuple(name for name in extra if name not in left_out)} if extra else {})


def _along(axis: int, change: Callable[[Array, int], Array]) -> Change:
    def changed(x: Array) -> Array:
        if x.ndim < -axis or x.shape[axis] < 2:
            raise Unfit
        return change(x, axis)

    return changed


def _without_last(x: Array, axis: int) -> Array:
    made = np.moveaxis(x.copy(), axis, 0)
    made[-1] = 0
    return np.moveaxis(made, 0, axis)


def _transposed(x: Array) -> Array:
    if x.ndim < 2:
        raise Unfit
    return np.swapaxes(x, -1, -2)


def _finite(x: Array) -> Array:
    return np.nan_to_num(x, posinf=3e38, neginf=-3e38) if x.dtype.kind == "f" else x


def _negated(x: Array) -> Array:
    """Of numbers; an id is never one too few because of its sign."""
    if x.dtype.kind != "f":
        raise Unfit
    return -x


def _wide(x: Array) -> Array:
    """In float64, so that what is added is all that changes."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


CHANGES: dict[str, Change] = {
    "negated": _negated,
    "plus one": lambda x: _wide(x) + 1,
    "minus one": lambda x: _wide(x) - 1,
    "left out": lambda x: x * 0,
    "with its last two axes swapped": _transposed,
    "where inf and NaN are numbers": _finite,
    **{f"rolled along axis {a}": _along(a, lambda x, axis: np.roll(x, 1, axis)) for a in (-1, -2, -3, -4)},
    **{f"reversed along axis {a}": _along(a, lambda x, axis: np.flip(x, axis)) for a in (-1, -2, -3)},
    **{f"without the last of axis {a}": _along(a, _without_last) for a in (-1, -2)},
}


def _numbers(x) -> Iterator[tuple[str, Callable]]:
    """How an attribute may be wrong, by its type."""
    if isinstance(x, bool):
        yield "the other way round", lambda v: not v
    elif isinstance(x, int):
        yield from (("plus one", lambda v: v + 1), ("minus one", lambda v: v - 1))
    elif isinstance(x, float):
        yield from (("doubled", lambda v: 2 * v), ("left out", lambda v: 0.0))
    elif isinstance(x, tuple):
        yield from (("reversed", lambda v: v[::-1]), ("rolled", lambda v: (*v[1:], *v[:1])))


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a.dtype is DType.I32) == (b.dtype is DType.I32)


def _swapped(i: int, j: int) -> Mutant:
    def wrong(compute: Compute, node: Node) -> Compute:
        if j >= len(node.inputs) or not _alike(node.inputs[i], node.inputs[j]):
            raise Unfit
        order = [{i: j, j: i}.get(n, n) for n in range(len(node.inputs))]
        return lambda *inputs, **attrs: compute(*(inputs[n] for n in order), **attrs)

    return Mutant(f"inputs {i} and {j} swapped", wrong)


def _outputs_swapped(i: int, j: int) -> Mutant:
    def wrong(compute: Compute, node: Node) -> Compute:
        if j >= len(node.outputs) or not _alike(node.outputs[i], node.outputs[j]):
            raise Unfit
        order = [{i: j, j: i}.get(n, n) for n in range(len(node.outputs))]

        def run(*inputs, **attrs):
            outputs = compute(*inputs, **attrs)
            return tuple(outputs[n] for n in order)

        return run

    return Mutant(f"outputs {i} and {j} swapped", wrong)


def general(trials: tuple[Trial, ...]) -> Iterator[Mutant]:
    """What can be done to any op, by the inputs, outputs and attributes that its cases have."""
    nodes = [trial.setting.node for trial in trials]
    n_inputs, n_outputs = max(len(n.inputs) for n in nodes), max(len(n.outputs) for n in nodes)
    for what, change in CHANGES.items():
        yield from (of_input(f"input {i} {what}", i, change) for i in range(n_inputs))
        yield from (of_output(f"output {i} {what}", i, change) for i in range(n_outputs))
    yield from (_swapped(i, j) for i, j in combinations(range(n_inputs), 2))
    yield from (_outputs_swapped(i, j) for i, j in combinations(range(n_outputs), 2))
    attrs = {attr: value for node in nodes for attr, value in node.attrs.items()}
    for attr, value in attrs.items():
        yield from (of_attr(f"{attr} {what}", attr, change) for what, change in _numbers(value))
    yield from map(without, options(nodes))


def options(nodes: list[Node]) -> list[str]:
    """What an op's nodes may choose, and those operands of theirs that need not be there."""
    known = {name for node in nodes for name in (*OPS[node.op].options, *_extra(node))}
    return sorted(known - {"extra"})
