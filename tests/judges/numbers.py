"""Storages' contents as plain numbers and back, apart from how the cpu backend does it."""

import math
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
    if dtype in _OWN:
        size = dtype.block_bytes
        flat = content.tobytes()
        blocks = (_OWN[dtype](flat[at : at + size]) for at in range(0, len(flat), size))
        return np.array([value for block in blocks for value in block])
    if dtype.is_quantised:
        with np.errstate(invalid="ignore"):  # a scale that is no number
            return dequantize(content, GGMLQuantizationType(dtype.gguf_id)).reshape(-1).astype(np.float64)
    if dtype is DType.BF16:  # the upper half of a float32
        return np.frombuffer((content.astype("<u4") << 16).tobytes(), "<f4").astype(np.float64)
    return content.reshape(-1).astype(np.int64 if dtype is DType.I32 else np.float64)


def _signs(block: bytes) -> list[float]:
    """Q1_0: d, then 128 bits, the lowest of each byte first; a bit that is set is d, one that is not -d."""
    (d,) = struct.unpack("<e", block[:2])
    return [d if block[2 + i // 8] >> i % 8 & 1 else -d for i in range(128)]


def _factored(block: bytes) -> list[float]:
    """NVFP4 as it is held: E4M3 scales of four runs of 16, a float32 that multiplies all, then E2M1's codes, of each
    run elements 0 to 7 in the low halves of its bytes and 8 to 15 in the high ones."""
    (factor,), numbers = (
        struct.unpack("<f", block[4:8]),
        (0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6),
    )
    made: list[float] = []
    for run, e in enumerate(block[:4]):
        exponent, mantissa = e >> 3 & 15, e & 7
        scale = (1 + mantissa / 8) * 2.0 ** (exponent - 7) if exponent else mantissa * 2.0**-9
        codes = block[8 + 8 * run : 16 + 8 * run]
        halves = [c & 15 for c in codes] + [c >> 4 for c in codes]
        made += [factor * scale * numbers[q] for q in halves]
    return made


_OWN = {DType.Q1_0: _signs, DType.NVFP4: _factored}  # which gguf does not know, or not so


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
    if dtype is DType.Q8_0:
        return np.array([_coded(block) for block in values.reshape(-1, 32)], np.float64).reshape(values.shape)
    to = TensorProto.BFLOAT16 if dtype is DType.BF16 else TensorProto.FLOAT
    return onnx_op("Cast", onnx_op("Cast", values, to=TensorProto.FLOAT), to=to).astype(np.float64)


def _coded(block: Array) -> list[float]:
    """Q8_0: codes, of float32s, times a half; what is not finite spoils its block."""
    numbers = [np.float32(v) for v in block]
    if not all(map(math.isfinite, numbers)):
        return [math.nan] * len(numbers)
    d = max(map(abs, numbers)) / np.float32(127)
    inverse = np.float32(1) / d if d else np.float32(0)
    codes = (int(abs(x * inverse) + np.float32(0.5)) * (-1 if x < 0 else 1) for x in numbers)
    return [_half(float(d)) * code for code in codes]


def _half(value: float) -> float:
    return struct.unpack("<e", struct.pack("<e", value))[0] if abs(value) < LARGEST_HALF else value * float("inf")
