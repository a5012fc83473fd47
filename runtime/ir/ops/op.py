"""What an op is: declared once, read by the graph, the passes, the backends, the tests and the documentation."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Op:
    """An op's shape rule, its meaning and, for a composite, its decomposition.

    infer(*tensors, **attrs): what comes out; a Tensor among it is written in place. Raises GraphError.
    compute(*arrays, **attrs): numpy float32/int32 arrays in, arrays out; the reference and the cpu backend. Of
        an output written in place it returns the whole new content of that tensor. Block-type inputs come as
        `Blocks` (runtime/ir/ops/blocks.py), which dequantise what is indexed.
    decompose(graph, *tensors, **attrs): the same out of primitives; None for a primitive.
    is_copy: moves elements and computes nothing.
    """

    name: str
    infer: Callable[..., tuple[Out, ...]]
    compute: Callable[..., tuple[np.ndarray, ...]]
    decompose: Callable[..., tuple[Tensor, ...]] | None = None
    is_copy: bool = False


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
    names = " or ".join(d.name for d in dtypes)
    require(t.dtype in dtypes, op, f"{t} has dtype {t.dtype.name}, expected {names}")


def broadcast_shapes(op: str, a: Shape, b: Shape) -> Shape:
    """numpy's rule for two shapes."""
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise GraphError(f"[{op}] shapes do not broadcast: {a}, {b}") from None
