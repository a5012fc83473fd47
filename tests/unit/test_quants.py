"""Block types: the device layout against its definition, floats against values worked out by hand."""

import time

import gguf
import numpy as np
import pytest
from vkrun.runtime.errors import UsageError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.quants import (
    dequantise,
    from_file,
    pack_rows,
    packed_row_nbytes,
    quantise,
    random_blocks,
    unpack_rows,
)

# where stands what moves and how many bytes it has: d of types whose blocks are no multiple of 4 bytes, and more where
# what is left then begins at multiples of 16
MOVED = {
    "Q4_0": (0, 2),
    "Q5_0": (0, 2),
    "Q8_0": (0, 2),
    "Q3_K": (108, 2),
    "Q6_K": (208, 2),
    "IQ1_S": (0, 2),
    "IQ2_XXS": (0, 2),
    "IQ2_XS": (0, 2),
    "IQ2_S": (0, 2),
    "IQ3_XXS": (0, 2),
    "IQ3_S": (0, 2),
    "IQ4_NL": (0, 2),
    "IQ4_XS": (0, 8),
    "TQ1_0": (52, 2),
    "TQ2_0": (64, 2),
    "MXFP4": (0, 1),
    "NVFP4": (0, 8),
    "Q1_0": (0, 2),
}
ALL = pytest.mark.parametrize("dtype", list(DType), ids=lambda d: d.name)


def packed_by_hand(row: bytes, dtype: DType) -> bytes:
    """The definition, block by block."""
    packed, in_loads = row, -len(row) % 16
    if dtype.name in MOVED:
        at, size = MOVED[dtype.name]
        blocks = [row[i : i + dtype.block_bytes] for i in range(0, len(row), dtype.block_bytes)]
        packed = b"".join(b[:at] + b[at + size :] for b in blocks) + b"".join(b[at : at + size] for b in blocks)
    return packed + bytes(in_loads if dtype.is_quantised and in_loads <= len(row) / 16 else -len(row) % 4)


@ALL
@pytest.mark.parametrize("n_blocks", [1, 2, 3, 8])
def test_pack_rows(dtype: DType, n_blocks: int) -> None:
    n = dtype.block * n_blocks
    raw = random_blocks(dtype, 5, n, np.random.default_rng(n_blocks))
    packed = pack_rows(raw, dtype)
    assert packed.shape == (5, packed_row_nbytes(dtype, n)) and packed.shape[1] % 4 == 0
    assert [row.tobytes() for row in packed] == [packed_by_hand(row.tobytes(), dtype) for row in raw]
    assert np.array_equal(unpack_rows(packed, dtype, n), raw)


@ALL
def test_pack_rows_into_staging(dtype: DType) -> None:
    """Into memory that held something else, from rows that are a slice of wider ones."""
    n = dtype.block * 3
    raw = random_blocks(dtype, 8, n, np.random.default_rng(0))
    staging = np.full((4, packed_row_nbytes(dtype, n)), 255, np.uint8)
    assert pack_rows(raw[::2], dtype, staging) is staging
    assert [row.tobytes() for row in staging] == [packed_by_hand(row.tobytes(), dtype) for row in raw[::2]]


def test_moved_types_are_those_that_no_word_load_can_address() -> None:
    assert {d.name for d in DType if d.is_quantised and d.block_bytes % 4} == set(MOVED) - {"IQ4_XS", "NVFP4"}


@ALL
def test_random_blocks_are_finite_and_of_both_signs(dtype: DType) -> None:
    raw = random_blocks(dtype, 16, 512, np.random.default_rng(3))
    x = dequantise(raw, dtype, 512)
    assert x.shape == (16, 512) and x.dtype == np.float32
    assert np.isfinite(x).all() and x.min() < 0 < x.max()
    if dtype is not DType.I32:
        assert 0.25 < np.abs(x).max() < 6 and x.std() > 0.05


@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16, DType.I32], ids=lambda d: d.name)
def test_plain_types_pass_through(dtype: DType) -> None:
    x = np.array([[-2, 0, 1], [3, 256, -1]], np.float32)
    raw = quantise(x, dtype)
    assert raw.shape == (2, dtype.nbytes(3))
    assert np.array_equal(dequantise(raw, dtype, 3), x)
    assert pack_rows(raw, dtype).shape == (2, -(-dtype.nbytes(3) // 4) * 4)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_quantise_comes_back_near(name: str) -> None:
    dtype = DType[name]
    x = np.random.default_rng(5).standard_normal((3, 2, 96)).astype(np.float32)
    x[0, 0, :32] = 0
    back = dequantise(quantise(x, dtype), dtype, 96)
    step = {"Q4_0": 1 / 7, "Q4_1": 1 / 14, "Q5_0": 1 / 15, "Q5_1": 1 / 30, "Q8_0": 1 / 250, "MXFP4": 1 / 3}[name]
    assert back.shape == x.shape and np.all(back[0, 0, :32] == 0)
    assert np.abs(back - x).max() < 3.5 * step


def test_q4_0_by_hand() -> None:
    """d = 0.5; element j in the low half of byte j, element 16 + j in the high half; value d * (q - 8)."""
    raw = np.frombuffer(np.float16(0.5).tobytes() + bytes([0x0F, 0xF0, *[0x88] * 14]), np.uint8)
    x = dequantise(raw, DType.Q4_0, 32)
    assert x[[0, 1, 16, 17]].tolist() == [3.5, -4.0, -4.0, 3.5]
    assert not x[2:16].any() and not x[18:].any()


def test_q1_0_by_hand() -> None:
    """d = 0.5; bit j of the bits, the lowest first, says whether element j is d or -d."""
    raw = np.frombuffer(np.float16(0.5).tobytes() + bytes([0b101, *[0xFF] * 14, 0x80]), np.uint8)
    x = dequantise(raw, DType.Q1_0, 128)
    assert x[:4].tolist() == [0.5, -0.5, 0.5, -0.5] and set(x[8:120]) == {0.5}
    assert x[120:].tolist() == [-0.5] * 7 + [0.5]


def test_nvfp4_holds_its_matrix_factor() -> None:
    file = np.random.default_rng(0).integers(0, 120, (3, 2 * 36), np.uint8)
    plain = dequantise(from_file(file, DType.NVFP4), DType.NVFP4, 128)
    assert np.array_equal(plain, gguf.quants.dequantize(file, gguf.GGMLQuantizationType.NVFP4))
    factors = np.array([0.5, -3.7, 1e-6], np.float32)
    scaled = dequantise(from_file(file, DType.NVFP4, factors), DType.NVFP4, 128)
    assert np.array_equal(scaled, plain * factors[:, None])
    assert np.array_equal(dequantise(from_file(file, DType.NVFP4, 0.25), DType.NVFP4, 128), plain / 4)
    assert from_file(file, DType.Q4_0) is file


def test_misfits_are_named() -> None:
    raw = np.zeros((2, 18), np.uint8)
    with pytest.raises(UsageError, match="Q4_0: row of 33 elements, expected a multiple of 32"):
        packed_row_nbytes(DType.Q4_0, 33)
    with pytest.raises(UsageError, match=r"Q4_0 rows are uint8 \(2, 17\), expected uint8 \[rows, multiple of 18\]"):
        pack_rows(raw[:, :17], DType.Q4_0)
    with pytest.raises(UsageError, match=r"out is uint8 \(2, 18\), expected uint8 \(2, 20\)"):
        pack_rows(raw, DType.Q4_0, raw)
    with pytest.raises(UsageError, match=r"unpack_rows: uint8 \(2, 18\), expected uint8 \(..., 20\)"):
        unpack_rows(raw, DType.Q4_0, 32)
    with pytest.raises(UsageError, match=r"dequantise: uint8 \(2, 18\), expected uint8 \(..., 36\)"):
        dequantise(raw, DType.Q4_0, 64)
    with pytest.raises(UsageError, match="no quantiser for Q4_K, expected a plain type or one of MXFP4, Q4_0"):
        quantise(np.zeros(256, np.float32), DType.Q4_K)
    with pytest.raises(UsageError, match="not finite, which Q8_0 cannot hold"):
        quantise(np.full(32, np.nan, np.float32), DType.Q8_0)


def test_packing_keeps_up_with_a_disk() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (4096, 64 * 18), np.uint8)
    out = np.empty((4096, packed_row_nbytes(DType.Q4_0, 2048)), np.uint8)
    best = 10.0
    for _ in range(5):
        start = time.perf_counter()
        pack_rows(raw, DType.Q4_0, out)
        best = min(best, time.perf_counter() - start)
    assert raw.nbytes / best > 0.5e9, f"{raw.nbytes / best / 1e9:.2f} GB/s"
