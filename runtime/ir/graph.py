"""Graph: nodes in program order. Built by method calls; nodes never change, and a pass returns a new graph."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import GraphError
from .dtypes import DType
from .layout import Layout, Shape
from .ops import OPS, OpKind, Spec
from .tensor import Kind, Storage, Tensor


@dataclass(frozen=True, eq=False)
class Branch:
    """Which run executes a node: one whose step brings `which` [1], an input, as 0 (`side` 0) or as another number."""

    which: Tensor
    side: int

    def taken(self, number: int) -> bool:
        return (number != 0) == bool(self.side)

    def same_runs(self, other: "Branch | None") -> bool:
        return other is not None and self.which is other.which and self.side == other.side

    def other_runs(self, other: "Branch | None") -> bool:
        return other is not None and self.which is other.which and self.side != other.side


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an op. An output over a storage that existed before is a write in place.

    A node with a `branch` stands in every plan, and is dispatched only in the runs that take it.
    """

    op: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    branch: Branch | None = None

    @property
    def is_copy(self) -> bool:
        return OPS[self.op].kind is OpKind.COPY

    def __repr__(self) -> str:
        return f"{self.name or self.op}: {list(self.outputs)} = {self.op}{list(self.inputs)}"


class Graph:
    """A straight-line program over tensors: node i sees what nodes before it wrote, states included.

    `inputs` and `outputs` are named. A tensor that is neither read later, nor an output, nor a state is dead.
    """

    def __init__(
        self,
        nodes: Iterable[Node] = (),
        inputs: Mapping[str, Tensor] | None = None,
        outputs: Mapping[str, Tensor] | None = None,
        decided: Mapping[str, int] | None = None,
    ) -> None:
        self._nodes = list(nodes)
        self.decided = dict(decided or {})  # the side, 0 or 1, of selects that are decided before planning
        self.inputs = dict(inputs or {})
        self.outputs = dict(outputs or {})
        self._scope: list[str] = []

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes)

    def replaced(self, nodes: Iterable[Node], outputs: Mapping[str, Tensor] | None = None) -> "Graph":
        """A new graph with the same inputs, and other nodes."""
        return Graph(nodes, self.inputs, self.outputs if outputs is None else outputs, self.decided)

    def input(self, name: str, shape: Shape, dtype: DType = DType.F32) -> Tensor:
        """A tensor that the host writes before each run."""
        return self.inputs.setdefault(name, Storage(name, Kind.INPUT, dtype, tuple(shape)).tensor())

    def output(self, name: str, x: Tensor) -> None:
        self.outputs[name] = x

    def scope(self, name: str) -> "_Scope":
        """`with g.scope("blk.3"):` names the nodes made inside."""
        return _Scope(self, name)

    def emit(self, op: str, *inputs: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
        """Append a node and return its outputs. Raises GraphError when the op cannot take the operands."""
        name, attrs = ".".join((*self._scope, op)), OPS[op].chosen(attrs)
        outs = OPS[op].infer(*inputs, **attrs)
        made = tuple(self._new(name, o) if isinstance(o, Spec) else o for o in outs)
        self._nodes.append(Node(op, inputs, made, MappingProxyType(attrs), name))
        return made

    def _new(self, name: str, spec: Spec) -> Tensor:
        if spec.dtype.is_quantised:
            raise GraphError(f"[{name}] cannot make a tensor of block type {spec.dtype.name}")
        return Storage(name, Kind.TEMP, spec.dtype, spec.shape).tensor()

    def one(self, op: str, *inputs: Tensor, **attrs: Any) -> Tensor:
        (out,) = self.emit(op, *inputs, **attrs)
        return out

    # elementwise
    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one("add", a, b)

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one("sub", a, b)

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one("mul", a, b)

    def div(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one("div", a, b)

    def scale(self, x: Tensor, factor: float, bias: float = 0.0) -> Tensor:
        return self.one("scale", x, factor=factor, bias=bias)

    def select(self, decision: str, which: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a where which [1] holds 0, else b; `decided[decision]` may say so beforehand."""
        return self.one("select", which, a, b, decision=decision)

    def clamp(self, x: Tensor, low: float, high: float) -> Tensor:
        return self.one("clamp", x, low=low, high=high)

    def exp(self, x: Tensor) -> Tensor:
        return self.one("exp", x)

    def neg(self, x: Tensor) -> Tensor:
        return self.one("neg", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.one("sigmoid", x)

    def silu(self, x: Tensor) -> Tensor:
        return self.one("silu", x)

    def softplus(self, x: Tensor) -> Tensor:
        return self.one("softplus", x)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        return self.one("swiglu", gate, up)

    # copies
    def contiguous(self, x: Tensor) -> Tensor:
        return self.one("contiguous", x)

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """A view where strides allow it, else a contiguous copy."""
        return (x if x.can_reshape(*shape) else self.contiguous(x)).reshape(*shape)

    def cpy(self, src: Tensor, dst: Tensor) -> Tensor:
        return self.one("cpy", src, dst)

    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        return x if x.dtype is dtype else self.one("cast", x, dtype=dtype)

    def concat(self, a: Tensor, b: Tensor, axis: int) -> Tensor:
        return self.one("concat", a, b, axis=axis % a.ndim)

    def repeat(self, x: Tensor, *shape: int) -> Tensor:
        return self.one("repeat", x, shape=shape)

    def pad(self, x: Tensor, before: Shape, after: Shape) -> Tensor:
        return self.one("pad", x, before=tuple(before), after=tuple(after))

    def set(self, x: Tensor, src: Tensor, region: Layout) -> Tensor:
        """x with src written over `region`, a layout of src's shape over x's elements in contiguous order."""
        return self.one("set", x, src, strides=region.strides, offset=region.offset)

    def get_rows(self, table: Tensor, ids: Tensor) -> Tensor:
        return self.one("get_rows", table, ids)

    def set_rows(self, dst: Tensor, ids: Tensor, src: Tensor) -> Tensor:
        return self.one("set_rows", dst, ids, src)

    # along rows
    def rms_norm(self, x: Tensor, eps: float) -> Tensor:
        return self.one("rms_norm", x, eps=eps)

    def rms_norm_scale(self, x: Tensor, w: Tensor, eps: float) -> Tensor:
        return self.one("rms_norm_scale", x, w, eps=eps)

    def gated_norm(self, x: Tensor, w: Tensor, gate: Tensor, eps: float) -> Tensor:
        return self.one("gated_norm", x, w, gate, eps=eps)

    def l2_norm(self, x: Tensor, eps: float, eps_inside: bool = False) -> Tensor:
        return self.one("l2_norm", x, eps=eps, eps_inside=eps_inside)

    def softmax(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        return self.one("softmax", x, *([] if mask is None else [mask]), scale=scale)

    def sum_rows(self, x: Tensor) -> Tensor:
        return self.one("sum_rows", x)

    def cumsum(self, x: Tensor) -> Tensor:
        return self.one("cumsum", x)

    def top_k(self, x: Tensor, k: int) -> Tensor:
        return self.one("top_k", x, k=k)

    def tri(self, x: Tensor, lower: bool = True, diagonal: bool = True) -> Tensor:
        return self.one("tri", x, lower=lower, diagonal=diagonal)

    def causal_mask(self, pos: Tensor, n_kv: int, window: int = 0) -> Tensor:
        return self.one("causal_mask", pos, n_kv=n_kv, window=window)

    # products
    def mul_mat(self, w: Tensor, x: Tensor) -> Tensor:
        return self.one("mul_mat", w, x)

    def mul_mat_id(self, w: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        return self.one("mul_mat_id", w, x, ids)

    def solve_tri(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one("solve_tri", a, b)

    def ssm_conv(self, x: Tensor, w: Tensor) -> Tensor:
        return self.one("ssm_conv", x, w)

    def rope(self, x: Tensor, pos: Tensor, table: Tensor, neighbours: bool = False) -> Tensor:
        return self.one("rope", x, pos, table, neighbours=neighbours)


class _Scope:
    def __init__(self, graph: Graph, name: str) -> None:
        self._stack, self._name = graph._scope, name

    def __enter__(self) -> None:
        self._stack.append(self._name)

    def __exit__(self, *_exc: object) -> None:
        self._stack.pop()
