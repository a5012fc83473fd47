"""Element types: plain numbers and the block types of GGUF, with their sizes."""

from enum import Enum

import numpy as np


class DType(Enum):
    """One element type: `block` elements stand in `block_bytes` bytes; plain numbers have block 1.

    The value is GGUF's type id. Sizes are ggml's, but NVFP4's blocks have a factor of their own, which files keep in
    another tensor: see quants.py.
    """

    F32 = 0, 1, 4
    F16 = 1, 1, 2
    Q4_0 = 2, 32, 18
    Q4_1 = 3, 32, 20
    Q5_0 = 6, 32, 22
    Q5_1 = 7, 32, 24
    Q8_0 = 8, 32, 34
    Q2_K = 10, 256, 84
    Q3_K = 11, 256, 110
    Q4_K = 12, 256, 144
    Q5_K = 13, 256, 176
    Q6_K = 14, 256, 210
    IQ2_XXS = 16, 256, 66
    IQ2_XS = 17, 256, 74
    IQ3_XXS = 18, 256, 98
    IQ1_S = 19, 256, 50
    IQ4_NL = 20, 32, 18
    IQ3_S = 21, 256, 110
    IQ2_S = 22, 256, 82
    IQ4_XS = 23, 256, 136
    I32 = 26, 1, 4
    IQ1_M = 29, 256, 56
    BF16 = 30, 1, 2
    TQ1_0 = 34, 256, 54
    TQ2_0 = 35, 256, 66
    MXFP4 = 39, 32, 17
    NVFP4 = 40, 64, 40, 36
    Q1_0 = 41, 128, 18

    def __init__(self, gguf_id: int, block: int, block_bytes: int, file_block_bytes: int | None = None) -> None:
        self.gguf_id, self.block, self.block_bytes = gguf_id, block, block_bytes
        self.file_block_bytes = file_block_bytes or block_bytes

    __hash__ = object.__hash__  # Enum's own is Python, and asked for often

    @property
    def is_quantised(self) -> bool:
        return self.block > 1

    @property
    def is_rare(self) -> bool:
        """A type of few files, for which there are no kernels of two types and fewer cases."""
        return self.name in _RARE

    @property
    def numpy(self) -> np.dtype:
        """The numpy type of plain numbers; BF16 is held as its 16 bits, blocks as bytes."""
        return np.dtype(_NUMPY.get(self.name, "uint8"))

    def nbytes(self, n: int) -> int:
        """Bytes of a row of n elements; n is a multiple of the block."""
        return n // self.block * self.block_bytes

    def file_nbytes(self, n: int) -> int:
        """Bytes of n elements in a file."""
        return n // self.block * self.file_block_bytes

    @classmethod
    def from_gguf(cls, gguf_id: int) -> "DType | None":
        return next((d for d in cls if d.gguf_id == gguf_id), None)


_RARE = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "NVFP4", "Q1_0"}
)
_NUMPY = {"F32": "float32", "F16": "float16", "BF16": "uint16", "I32": "int32"}


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """BF16's 16 bits as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to BF16's 16 bits, to nearest even; NaN stays NaN."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), (bits >> 16) | 0x40, rounded).astype(np.uint16)
