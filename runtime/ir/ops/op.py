"""What an op is: declared once, read by the graph, the passes, the backends, the tests and the documentation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from inspect import signature
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import GraphError
from ..dtypes import DType
from ..layout import Shape
from ..tensor import Tensor

Attrs = dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """A new tensor that an op makes."""

    shape: Shape
    dtype: DType = DType.F32


Out = Spec | Tensor  # a Tensor: the op writes into memory that exists


class OpKind(StrEnum):
    """What sort of work an op is, first of all to who looks at a graph."""

    COPY = "copy"  # moves elements and computes nothing
    PRODUCT = "product"  # reads its rows many times over, so that rows which are contiguous pay
    FUSED = "fused"  # several steps in one
    PLAIN = "plain"


@dataclass(frozen=True)
class Work:
    """What an op has to do: the elements that it reads and writes of operands where that is less than all that they
    show, by operand, and the operations of its products, 2 a multiply and add."""

    reads: Mapping[int, int] = field(default_factory=dict)
    writes: Mapping[int, int] = field(default_factory=dict)
    flops: int = 0


@dataclass(frozen=True)
class Cut:
    """An axis along which an op falls into parts that know nothing of each other: the axis, counted from the last (-1),
    of each operand that has it. An operand without it belongs to every part. Operands differ in its length where one
    element of the shortest meets a run of them.

    part: the op of parts that write into one output, each what it finds; it takes that output before all else, and as
    `first` and `n_rows` which elements of the axis it has, of how many."""

    inputs: Mapping[int, int]
    outputs: Mapping[int, int]
    part: str = ""


def _all_of_it(*_inputs: Tensor, **_attrs: Any) -> Work:
    return Work()


def _in_one_piece(*_inputs: Tensor, **_attrs: Any) -> tuple[Cut, ...]:
    return ()


@dataclass(frozen=True)
class Op:
    """An op's shape rule, its meaning, for a composite its decomposition, and whatever others must know of it.

    infer(*tensors, **attrs): what comes out; a Tensor among it is written in place. Raises GraphError.
    compute(*arrays, **attrs): numpy float32/int32 arrays in, arrays out; the reference and the cpu backend. Of
        an output written in place it returns the whole new content of that tensor. Block-type inputs come as
        `Blocks` (runtime/ir/ops/blocks.py), which dequantise what is indexed.
    decompose(graph, *tensors, **attrs): the same out of primitives; None for a primitive.
    kind: what sort of work it is.
    elementwise: element i of what comes out depends on nothing but the inputs' elements i, as they broadcast; so it may
        be written over an input that stands in the same places.
    work(*tensors, **attrs): what it reads, writes and computes.
    cuts(*tensors, **attrs): where a plan may cut it into several dispatches.
    view(*tensors, **attrs): of a copy, its first output as a view of an input; None where no layout says it.
    places(output, *tensors, **attrs): of a copy that puts inputs into places of its output, those places as views of
        it, by input. What no place covers is as in input 0.
    picks: its output is one of the inputs after the first, which says by number which one.
    layer: what a model's layer around it is called in pictures.

    Keyword parameters of `infer` that have a default are the op's options. What is not chosen stands in no node, and a
    kernel refuses a node that chooses what it does not name. The option `extra` names operands, the last ones, that
    need not be there.
    """

    name: str
    infer: Callable[..., tuple[Out, ...]]
    compute: Callable[..., tuple[np.ndarray, ...]]
    decompose: Callable[..., tuple[Tensor, ...]] | None = None
    kind: OpKind = OpKind.PLAIN
    elementwise: bool = False
    work: Callable[..., Work] = _all_of_it
    cuts: Callable[..., tuple[Cut, ...]] = _in_one_piece
    view: Callable[..., Tensor | None] | None = None
    places: Callable[..., dict[int, Tensor]] | None = None
    picks: bool = False
    layer: str = ""

    @cached_property
    def options(self) -> Attrs:
        """Attributes that need not be given, with what they then are."""
        parameters = signature(self.infer).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}

    def chosen(self, attrs: Mapping[str, Any]) -> Attrs:
        """The attributes without options that are as they would be anyway."""
        return {name: value for name, value in attrs.items() if name not in self.options or value != self.options[name]}

    def options_of(self, attrs: Mapping[str, Any]) -> frozenset[str]:
        """The names of chosen options, and of operands that need not be there but are."""
        return frozenset((self.options.keys() & attrs.keys() - {"extra"}) | set(attrs.get("extra", ())))


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    if op.name in OPS:
        raise ValueError(f"op {op.name} is declared twice")
    OPS[op.name] = op
    return op


def require(ok: bool, op: str, message: str) -> None:
    if not ok:
        raise GraphError(f"[{op}] {message}")


def require_dtype(op: str, t: Tensor, *dtypes: DType) -> None:
    if t.dtype not in dtypes:
        names = " or ".join(d.name for d in dtypes)
        raise GraphError(f"[{op}] {t} has dtype {t.dtype.name}, expected {names}")


def n_picked(table: Tensor, ids: Tensor) -> int:
    """Elements of the rows (of all axes but the first) that ids name, at most: each id another row."""
    return min(table.shape[0], ids.layout.n_elements) * prod(table.shape[1:])


def named_operands(
    op: str,
    extra: Sequence[str],
    more: Sequence[Tensor],
    shapes: Mapping[str, Shape],
    needs: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The operands that need not be there by their names; GraphError unless each is known, stands in the order of
    `shapes`, as kernels bind them, has its shape, and has that other one beside it that it needs."""
    found = [(name, t.shape) for name, t in zip(extra, more, strict=False)]
    ok = len(extra) == len(more) and list(extra) == [name for name in shapes if name in extra]
    ok = ok and all(shapes[name] == s for name, s in found)
    if not ok:
        raise GraphError(f"[{op}] {found or len(more)} for {tuple(extra)}, expected of {dict(shapes)}")
    alone = [name for name in extra if needs.get(name, name) not in extra]
    if alone:
        raise GraphError(f"[{op}] {alone} without {[needs[name] for name in alone]}")
    return dict(zip(extra, more, strict=True))


def broadcast_shapes(op: str, a: Shape, b: Shape) -> Shape:
    """numpy's rule for two shapes."""
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise GraphError(f"[{op}] shapes do not broadcast: {a}, {b}") from None
