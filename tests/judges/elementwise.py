"""Judges of the elementwise ops."""

import numpy as np

from .judge import ROUNDING, Array, Judge
from .onnx_ops import onnx_op


def _by(op: str, limit: float = 0.0, **fixed) -> Judge:
    """ONNX's op of the same inputs."""
    return Judge(lambda *inputs: (onnx_op(op, *inputs, **fixed),), limit, each=True)


def _scale(x: Array, factor: float, bias: float) -> tuple[Array]:
    product = onnx_op("Mul", x, np.float64(factor))
    return (onnx_op("Add", product, np.float64(bias)),)


def _clamp(x: Array, low: float, high: float) -> tuple[Array]:
    return (onnx_op("Clip", x, np.float64(low), np.float64(high)),)


def swiglu(gate: Array, up: Array) -> tuple[Array]:
    return (onnx_op("Mul", onnx_op("Swish", gate), up),)


def geglu(gate: Array, up: Array) -> tuple[Array]:
    """(1 + tanh(z)) / 2 as sigmoid(2 z), whose small results keep their digits."""
    inner = onnx_op("Add", gate, onnx_op("Mul", np.float64(0.044715), onnx_op("Pow", gate, np.float64(3))))
    opened = onnx_op("Sigmoid", onnx_op("Mul", np.float64(np.sqrt(8 / np.pi)), inner))
    return (onnx_op("Mul", onnx_op("Mul", gate, opened), up),)


def _select(which: Array, a: Array, b: Array, decision: str) -> tuple[Array]:
    """b where the number is not 0; `decision` only names what is decided."""
    return (onnx_op("Where", which.reshape(()) != 0, b, a),)


JUDGES = {
    "neg": _by("Neg"),
    "abs": _by("Abs"),
    "sqr": Judge(lambda x: (onnx_op("Mul", x, x),), ROUNDING, each=True),
    "sqrt": _by("Sqrt", ROUNDING),
    "exp": _by("Exp", ROUNDING),
    "log": _by("Log", ROUNDING),
    "tanh": _by("Tanh", ROUNDING),
    "relu": _by("Relu"),
    "sigmoid": _by("Sigmoid", ROUNDING),
    "silu": _by("Swish", ROUNDING),
    "softplus": _by("Softplus", ROUNDING),
    "gelu": Judge(
        lambda x: (onnx_op("Gelu", x, approximate="tanh"),), ROUNDING
    ),  # whose small results have lost digits
    "gelu_erf": Judge(lambda x: (onnx_op("Gelu", x, approximate="none"),), ROUNDING),
    "add": _by("Add"),
    "sub": _by("Sub"),
    "mul": _by("Mul"),
    "div": _by("Div"),
    "scale": Judge(_scale, ROUNDING),
    "clamp": Judge(_clamp, ROUNDING, each=True),
    "swiglu": Judge(swiglu, ROUNDING, each=True),
    "geglu": Judge(geglu, ROUNDING, each=True),
    "select": Judge(_select),
}
