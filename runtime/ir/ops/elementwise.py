"""Elementwise ops: one input or two, any layout, numpy's broadcasting."""

from collections.abc import Callable
from math import erfc

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Op, OpKind, Spec, broadcast_shapes, register, require, require_dtype

F32 = DType.F32
Array = np.ndarray


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); of x < 0 as exp(x) / (1 + exp(x)), so that nothing overflows and small results keep digits."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gelu(x: Array) -> Array:
    """The tanh form of Hendrycks & Gimpel (2016), with (1 + tanh(z)) / 2 = sigmoid(2 z)."""
    return x * sigmoid(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3))


_erfc = np.frompyfunc(erfc, 1, 1)


def gelu_erf(x: Array) -> Array:
    """x times the normal distribution's function, erfc(-x / sqrt 2) / 2."""
    return x * np.asarray(_erfc(-x / np.sqrt(2)), np.float64) / 2


UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqr": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softplus": softplus,
    "gelu": gelu,
    "gelu_erf": gelu_erf,
}

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
}


def _register_unary(name: str, f: Callable[[Array], Array]) -> None:
    def infer(x: Tensor) -> tuple[Spec]:
        require_dtype(name, x, F32)
        return (Spec(x.shape),)

    def compute(x: Array) -> tuple[Array]:
        return (f(x.astype(np.float64)),)

    register(Op(name, infer, compute, elementwise=True))


def _register_binary(name: str, f: Callable[[Array, Array], Array]) -> None:
    def infer(a: Tensor, b: Tensor) -> tuple[Spec]:
        require_dtype(name, a, F32)
        require_dtype(name, b, F32)
        return (Spec(broadcast_shapes(name, a.shape, b.shape)),)

    def compute(a: Array, b: Array) -> tuple[Array]:
        return (f(a, b),)

    register(Op(name, infer, compute, elementwise=True))


for _name, _f in UNARY.items():
    _register_unary(_name, _f)
for _name, _g in BINARY.items():
    _register_binary(_name, _g)


def _one(name: str) -> Callable[..., tuple[Spec]]:
    def infer(x: Tensor, **_attrs: float) -> tuple[Spec]:
        require_dtype(name, x, F32)
        return (Spec(x.shape),)

    return infer


def _scale(x: Array, factor: float, bias: float) -> tuple[Array]:
    return (x * np.float32(factor) + np.float32(bias),)


register(Op("scale", _one("scale"), _scale, elementwise=True))
register(Op("clamp", _one("clamp"), lambda x, low, high: (np.clip(x, low, high),), elementwise=True))


def _register_glu(name: str, activation: str) -> None:
    """activation(gate) * up."""

    def infer(gate: Tensor, up: Tensor) -> tuple[Spec]:
        return (Spec(broadcast_shapes(name, gate.shape, up.shape)),)

    def compute(gate: Array, up: Array) -> tuple[Array]:
        return (UNARY[activation](gate.astype(np.float64)) * up,)

    def decompose(g, gate: Tensor, up: Tensor) -> tuple[Tensor]:
        return (g.mul(g.one(activation, gate), up),)

    register(Op(name, infer, compute, decompose, OpKind.FUSED, elementwise=True))


_register_glu("swiglu", "silu")
_register_glu("geglu", "gelu")


def _select_infer(which: Tensor, a: Tensor, b: Tensor, decision: str) -> tuple[Spec]:
    require_dtype("select", which, DType.I32)
    for t in (a, b):
        require_dtype("select", t, F32)
    ok = which.layout.n_elements == 1 and a.shape == b.shape
    require(ok, "select", f"which {which.shape}, a {a.shape}, b {b.shape} ({decision})")
    return (Spec(a.shape),)


register(Op("select", _select_infer, lambda which, a, b, decision: (b if which.reshape(-1)[0] else a,), picks=True))
