"""Storages' contents as plain numbers and back, apart from how the cpu backend does it."""

import struct

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from onnx import TensorProto
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.layout import Layout

from .judge import Array
from .onnx_ops import onnx_op

LARGEST_HALF = 65520.0  # from here on a half is infinite


def numbers(content: Array, dtype: DType) -> Array:
    """A storage's content, flat, as float64 or int64."""
    if dtype.is_quantised:
        return dequantize(content, GGMLQuantizationType(dtype.gguf_id)).reshape(-1).astype(np.float64)
    if dtype is DType.BF16:  # the upper half of a float32
        return np.frombuffer((content.astype("<u4") << 16).tobytes(), "<f4").astype(np.float64)
    return content.reshape(-1).astype(np.int64 if dtype is DType.I32 else np.float64)


def elements(layout: Layout) -> Array:
    """Which element of its storage each element of a view is."""
    at = np.array(layout.offset)
    for n, stride in zip(layout.shape, layout.strides, strict=True):
        at = at[..., None] + stride * np.arange(n)
    return at


def rounded(values: Array, dtype: DType) -> Array:
    """Numbers as a dtype holds them."""
    if dtype is DType.I32:
        return values.astype(np.int64)
    if dtype is DType.F16:
        return np.array([_half(float(v)) for v in values.reshape(-1)], np.float64).reshape(values.shape)
    to = TensorProto.BFLOAT16 if dtype is DType.BF16 else TensorProto.FLOAT
    return onnx_op("Cast", onnx_op("Cast", values, to=TensorProto.FLOAT), to=to).astype(np.float64)


def _half(value: float) -> float:
    return struct.unpack("<e", struct.pack("<e", value))[0] if abs(value) < LARGEST_HALF else value * float("inf")
