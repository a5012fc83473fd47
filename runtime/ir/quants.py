"""Block types outside the GPU: to and from floats, and the layout that the devices hold them in.

A file's rows are runs of blocks of which many are no multiple of 4 bytes, which a shader that loads 32-bit words
cannot address. On the device a row of such a type holds first the blocks without their scale d, then all the scales,
then zeros to a multiple of 4 bytes, or of the 16 that GPUs load at a time where those are a sixteenth at most:

    file    d0 q0.. | d1 q1.. | d2 q2..        (or q before d: Q3_K, Q6_K, TQ1_0, TQ2_0)
    device  q0.. q1.. q2.. | d0 d1 d2 | 0

IQ4_XS's d are all that it has beside codes, and so are NVFP4's: four scales and a factor, a float32 that files keep as
one number for a whole matrix and that makes the block 40 bytes. Q4_1, Q5_1, Q2_K, Q4_K, Q5_K and IQ1_M are multiples of
4 and, but for such zeros, stay as they are; F16 and BF16 rows of odd length get 2 zero bytes.
"""

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from ..errors import UsageError
from .dtypes import DType

LOAD_NBYTES = 16  # of a GPU's widest load
PADDED_SHARE = 16  # a row grows by one of so many parts at most to begin where such a load can

# where in the block the scale stands that the device layout moves, and its bytes (MXFP4: an exponent)
SCALE_MOVED = {
    DType.Q4_0: (0, 2),
    DType.Q5_0: (0, 2),
    DType.Q8_0: (0, 2),
    DType.Q3_K: (108, 2),
    DType.Q6_K: (208, 2),
    DType.IQ1_S: (0, 2),
    DType.IQ2_XXS: (0, 2),
    DType.IQ2_XS: (0, 2),
    DType.IQ2_S: (0, 2),
    DType.IQ3_XXS: (0, 2),
    DType.IQ3_S: (0, 2),
    DType.IQ4_NL: (0, 2),
    DType.IQ4_XS: (0, 8),
    DType.TQ1_0: (52, 2),
    DType.TQ2_0: (64, 2),
    DType.MXFP4: (0, 1),
    DType.NVFP4: (0, 8),
    DType.Q1_0: (0, 2),
}

# the halves in each block that scale it, and the largest magnitude of what they are multiplied with
_SCALES = {
    DType.Q4_0: ((0,), 8),
    DType.Q4_1: ((0, 2), 15),
    DType.Q5_0: ((0,), 16),
    DType.Q5_1: ((0, 2), 31),
    DType.Q8_0: ((0,), 128),
    DType.Q2_K: ((80, 82), 15 * 3),
    DType.Q3_K: ((108,), 32 * 4),
    DType.Q4_K: ((0, 2), 63 * 15),
    DType.Q5_K: ((0, 2), 63 * 31),
    DType.Q6_K: ((208,), 128 * 32),
    DType.IQ1_S: ((0,), 15 * 1.125),
    DType.IQ2_XXS: ((0,), 15.5 / 4 * 43),
    DType.IQ2_XS: ((0,), 15.5 / 4 * 43),
    DType.IQ2_S: ((0,), 15.5 / 4 * 43),
    DType.IQ3_XXS: ((0,), 15.5 / 2 * 62),
    DType.IQ3_S: ((0,), 31 * 15),
    DType.IQ4_NL: ((0,), 127),
    DType.IQ4_XS: ((0,), 32 * 127),
    DType.TQ1_0: ((52,), 1),
    DType.TQ2_0: ((64,), 2),
    DType.Q1_0: ((0,), 1),
}

_QUANTISABLE = {
    *(DType.Q4_0, DType.Q4_1, DType.Q5_0, DType.Q5_1, DType.Q8_0),
    *(DType.TQ1_0, DType.TQ2_0, DType.MXFP4),
}


def row_nbytes(dtype: DType, n: int) -> int:
    """Bytes of a file's row of n elements; UsageError if n is no multiple of the block."""
    if n % dtype.block:
        raise UsageError(f"{dtype.name}: row of {n} elements, expected a multiple of {dtype.block}")
    return dtype.nbytes(n)


def packed_row_nbytes(dtype: DType, n: int) -> int:
    """Bytes of a device's row of n elements: a multiple of 16 where that adds little, else of 4."""
    nbytes = row_nbytes(dtype, n)
    in_loads = -(-nbytes // LOAD_NBYTES) * LOAD_NBYTES
    is_cheap = dtype.is_quantised and (in_loads - nbytes) * PADDED_SHARE <= nbytes
    return in_loads if is_cheap else -(-nbytes // 4) * 4


def from_file(raw: np.ndarray, dtype: DType, factors: np.ndarray | float = 1.0) -> np.ndarray:
    """uint8 [rows, bytes of a file's row] as rows of our blocks. factors: of each row or of all; NVFP4 holds them."""
    if dtype.file_block_bytes == dtype.block_bytes:
        return raw
    n_blocks = raw.shape[1] // dtype.file_block_bytes
    blocks = np.empty((len(raw), n_blocks, dtype.block_bytes), np.uint8)
    held, stored = blocks, raw.reshape(len(raw), n_blocks, dtype.file_block_bytes)
    held[..., :4], held[..., 8:] = stored[..., :4], stored[..., 4:]
    rows = np.broadcast_to(np.asarray(factors, "<f4"), len(raw)).copy()
    held[..., 4:8] = rows.view(np.uint8).reshape(-1, 1, 4)
    return blocks.reshape(len(raw), -1)


def pack_rows(raw: np.ndarray, dtype: DType, out: np.ndarray | None = None) -> np.ndarray:
    """uint8 [rows, row_nbytes] of a file to uint8 [rows, packed_row_nbytes] of a device.

    Without `out` a type whose layouts agree comes back uncopied.
    """
    n = _row_elements(raw, dtype)
    packed = packed_row_nbytes(dtype, n)
    if out is None and dtype not in SCALE_MOVED and packed == raw.shape[1]:
        return raw
    if out is None:
        out = np.empty((len(raw), packed), np.uint8)
    elif out.shape != (len(raw), packed) or out.dtype != np.uint8:
        raise UsageError(f"pack_rows: out is {out.dtype} {out.shape}, expected uint8 {(len(raw), packed)}")
    if dtype in SCALE_MOVED:
        blocks = np.ascontiguousarray(raw).view(_fields(dtype))
        body, scales = _device_parts(out, dtype, n)
        body[...], scales[...] = blocks["body"], blocks["d"]
    else:
        out[:, : raw.shape[1]] = raw
    out[:, raw.shape[1] :] = 0
    return out


def unpack_rows(packed: np.ndarray, dtype: DType, n: int) -> np.ndarray:
    """The inverse of pack_rows for rows of n elements."""
    _check_bytes("unpack_rows", packed, packed_row_nbytes(dtype, n))
    if dtype not in SCALE_MOVED:
        return packed[:, : row_nbytes(dtype, n)]
    raw = np.empty((len(packed), row_nbytes(dtype, n)), np.uint8)
    blocks = raw.view(_fields(dtype))
    blocks["body"], blocks["d"] = _device_parts(packed, dtype, n)
    return raw


def dequantise(raw: np.ndarray, dtype: DType, n: int) -> np.ndarray:
    """uint8 [..., bytes of n elements] as in the file to float32 [..., n], by gguf's own code."""
    _check_bytes("dequantise", raw, row_nbytes(dtype, n))
    if dtype is DType.I32:
        return raw.view("<i4").astype(np.float32)
    if not raw.size:
        return np.empty((*raw.shape[:-1], n), np.float32)
    if dtype is DType.Q1_0:
        return _of_signs(raw, n)
    if dtype is DType.NVFP4:
        return _of_factors(raw, n)
    with np.errstate(over="ignore", invalid="ignore"):  # files may hold scales that are no numbers
        return dequantize(np.ascontiguousarray(raw), GGMLQuantizationType(dtype.gguf_id))


def quantise(x: np.ndarray, dtype: DType) -> np.ndarray:
    """float32 [..., n] to the file's uint8 [..., bytes of n elements], for the types that gguf can quantise."""
    row_nbytes(dtype, x.shape[-1])
    if dtype.is_quantised and dtype not in _QUANTISABLE:
        raise UsageError(f"quantise: no quantiser for {dtype.name}, expected a plain type or one of {_names()}")
    if dtype.is_quantised and not np.isfinite(x).all():
        raise UsageError(f"quantise: values that are not finite, which {dtype.name} cannot hold")
    if dtype is DType.I32:
        return np.ascontiguousarray(x, "<i4").view(np.uint8)
    with np.errstate(all="ignore"):  # an all-zero block divides by its zero scale and then drops the result
        return quantize(np.ascontiguousarray(x, np.float32), GGMLQuantizationType(dtype.gguf_id)).view(np.uint8)


def rounded(x: np.ndarray, dtype: DType) -> np.ndarray:
    """As quantise, of Q8_0; a block with a number that is not finite gets NaN as its scale."""
    blocks = np.asarray(x, np.float32).reshape(-1, dtype.block)
    good = np.isfinite(blocks).all(axis=1, keepdims=True)
    raw = quantise(np.where(good, blocks, np.float32(0)), dtype)
    raw[:, :2] = np.where(good, raw[:, :2], np.array([np.nan], "<f2").view(np.uint8))
    return raw.reshape(*x.shape[:-1], row_nbytes(dtype, x.shape[-1]))


def random_blocks(dtype: DType, rows: int, n: int, rng: np.random.Generator, amplitude: float = 1.0) -> np.ndarray:
    """Test data: uint8 [rows, row_nbytes] of random bits whose scales are finite and of both signs.

    Values reach about `amplitude`, twice that where a block has a minimum as well. Plain types are normal numbers.
    """
    if not dtype.is_quantised:
        return quantise(rng.standard_normal((rows, n)).astype(np.float32) * amplitude, dtype)
    blocks = rng.integers(0, 256, (rows, row_nbytes(dtype, n) // dtype.block_bytes, dtype.block_bytes), np.uint8)
    if dtype is DType.MXFP4:  # the doubled values reach 12 and the exponent's bias is 128
        blocks[..., 0] = rng.integers(122, 126, blocks.shape[:2]) + round(np.log2(amplitude))
    elif dtype is DType.NVFP4:  # the doubled values reach 12, the scales 2 ** (exponent - 7)
        exponents = rng.integers(3, 5, (*blocks.shape[:2], 4)) + round(np.log2(amplitude))
        blocks[..., :4] = exponents << 3 | rng.integers(0, 8, exponents.shape)
        blocks[..., 4:8] = rng.uniform(0.5, 1, (*blocks.shape[:2], 1)).astype("<f4").view(np.uint8)
    elif dtype is DType.IQ1_M:  # a half in four quarters, the highest bits of halves
        quarters = _random_halves(blocks, amplitude / (15 * 1.125), rng).view("<u2") >> np.array([0, 4, 8, 12])
        blocks[..., 49::2] = blocks[..., 49::2] & 15 | (quarters & 15) << 4
    for at in _SCALES[dtype][0] if dtype in _SCALES else ():
        blocks[..., at : at + 2] = _random_halves(blocks, amplitude / _SCALES[dtype][1], rng).view(np.uint8)
    return blocks.reshape(rows, row_nbytes(dtype, n))


def _random_halves(blocks: np.ndarray, largest: float, rng: np.random.Generator) -> np.ndarray:
    """float16 [rows, blocks, 1] of both signs, none of them small beside the largest."""
    shape = (*blocks.shape[:2], 1)
    return (rng.uniform(0.25, 1, shape) * rng.choice([-1, 1], shape) * largest).astype("<f2")


def _of_signs(raw: np.ndarray, n: int) -> np.ndarray:
    """Q1_0, which gguf does not know: d where a bit is set, else -d; byte j holds elements 8j on, the first lowest."""
    blocks = np.ascontiguousarray(raw).reshape(*raw.shape[:-1], -1, DType.Q1_0.block_bytes)
    bits = np.unpackbits(blocks[..., 2:], axis=-1, bitorder="little").astype(np.float32)
    return (np.ascontiguousarray(blocks[..., :2]).view("<f2") * (2 * bits - 1)).reshape(*raw.shape[:-1], n)


def _of_factors(raw: np.ndarray, n: int) -> np.ndarray:
    """NVFP4 with its blocks' factors."""
    blocks = np.ascontiguousarray(raw).reshape(-1, DType.NVFP4.block_bytes)
    values = dequantize(np.concatenate([blocks[:, :4], blocks[:, 8:]], 1), GGMLQuantizationType.NVFP4)
    factors = np.ascontiguousarray(blocks[:, 4:8]).view("<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        return (values * factors).astype(np.float32).reshape(*raw.shape[:-1], n)


def _fields(dtype: DType) -> np.dtype:
    """A block as two fields; copying whole fields is twice as fast as copying runs of bytes."""
    at, size = SCALE_MOVED[dtype]
    return np.dtype(
        {
            "names": ["body", "d"],
            "formats": [f"V{dtype.block_bytes - size}", f"V{size}"],
            "offsets": [0 if at else size, at],
            "itemsize": dtype.block_bytes,
        }
    )


def _device_parts(packed: np.ndarray, dtype: DType, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of device rows: block bodies [rows, blocks] and scales [rows, blocks]."""
    size = SCALE_MOVED[dtype][1]
    body, end = n // dtype.block * (dtype.block_bytes - size), row_nbytes(dtype, n)
    return packed[:, :body].view(f"V{dtype.block_bytes - size}"), packed[:, body:end].view(f"V{size}")


def _row_elements(raw: np.ndarray, dtype: DType) -> int:
    if raw.dtype != np.uint8 or raw.ndim != 2 or raw.shape[1] % dtype.block_bytes:
        wanted = f"uint8 [rows, multiple of {dtype.block_bytes}]"
        raise UsageError(f"pack_rows: {dtype.name} rows are {raw.dtype} {raw.shape}, expected {wanted}")
    return raw.shape[1] // dtype.block_bytes * dtype.block


def _check_bytes(what: str, raw: np.ndarray, nbytes: int) -> None:
    if raw.dtype != np.uint8 or raw.shape[-1:] != (nbytes,):
        raise UsageError(f"{what}: {raw.dtype} {raw.shape}, expected uint8 (..., {nbytes})")


def _names() -> str:
    return ", ".join(sorted(dtype.name for dtype in _QUANTISABLE))
