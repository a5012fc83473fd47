"""Saved log-probabilities of a model, in the file format of llama.cpp's --kl-divergence-base.

    "_logits_", int32 n_ctx, n_vocab, n_chunks, int32 tokens [n_chunks, n_ctx] (as they were before BOS took a place),
    then for each chunk and each counted position a row: float32 scale, float32 least, uint16 steps [n_vocab], and one
    uint16 more where n_vocab is odd. log p = least + scale * steps; what is more than 16 below the likeliest is at 16.

Little endian. A file is untrusted: its size must be what its head says.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO, Self

import numpy as np

from ..errors import VkrunError
from .scores import n_counted

MAGIC = b"_logits_"
MOST_STEPS, DEPTH = 65535, np.float32(16)


@dataclass(frozen=True)
class Base:
    """An open file's head. tokens: int32 [n_chunks, n_ctx]."""

    file: BinaryIO
    n_vocab: int
    tokens: np.ndarray

    @classmethod
    def open(cls, path: str) -> Self:
        """VkrunError for what is no such file or is cut short."""
        try:
            file = open(path, "rb")  # noqa: SIM115  (close() and `with` on the Base end it)
        except OSError as error:
            raise VkrunError(f"{path}: cannot read: {error.strerror}") from None
        try:
            head = file.read(20)
            n_ctx, n_vocab, n_chunks = map(int, np.frombuffer(head[8:].ljust(12, b"\0"), "<i4"))
            if head[:8] != MAGIC or min(n_ctx - 2, n_vocab, n_chunks) < 1:
                raise VkrunError(f"{path}: no file of saved logits: it begins with {head!r:.60}, expected {MAGIC!r}")
            size = 20 + 4 * n_chunks * n_ctx + 2 * n_chunks * n_counted(n_ctx) * _width(n_vocab)
            if (there := os.fstat(file.fileno()).st_size) != size:
                what = f"{n_chunks} chunks of {n_ctx} tokens, {n_vocab} logits each"
                raise VkrunError(f"{path}: {there} bytes, expected {size} ({what})")
            tokens = np.frombuffer(file.read(4 * n_chunks * n_ctx), "<i4").reshape(n_chunks, n_ctx)
        except BaseException:
            file.close()
            raise
        return cls(file, n_vocab, tokens)

    def next_chunk(self) -> np.ndarray:
        """float32 [n_counted, n_vocab]: log p, of one chunk after the other."""
        n, width = n_counted(self.tokens.shape[1]), _width(self.n_vocab)
        rows = np.frombuffer(self.file.read(2 * n * width), "<u2").reshape(n, width)
        return unpack(rows, self.n_vocab)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.file.close()


def head_of(tokens: np.ndarray, n_vocab: int) -> bytes:
    """What a file begins with; packed rows of each chunk follow."""
    n_chunks, n_ctx = tokens.shape
    return MAGIC + np.array([n_ctx, n_vocab, n_chunks], "<i4").tobytes() + tokens.astype("<i4").tobytes()


def pack(logits: np.ndarray) -> np.ndarray:
    """uint16 [n, width] of float32 logits [n, n_vocab]."""
    n, n_vocab = logits.shape
    top = logits.max(-1, keepdims=True)
    low = np.maximum(logits.min(-1, keepdims=True), top - DEPTH)
    log_sum = np.log(np.exp(logits - top).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    scale = (top - low) / np.float32(MOST_STEPS)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    rows = np.zeros((n, _width(n_vocab)), "<u2")
    rows[:, :4] = np.concatenate([scale, low - top - log_sum], -1).astype("<f4").view("<u2")
    rows[:, 4 : 4 + n_vocab] = np.clip(np.rint(inverse * (logits - low)), 0, MOST_STEPS)
    return rows


def unpack(rows: np.ndarray, n_vocab: int) -> np.ndarray:
    """float32 [n, n_vocab]: log p of packed rows."""
    scale, least = np.ascontiguousarray(rows[:, :4]).view("<f4").T[:, :, None]
    return least + scale * rows[:, 4 : 4 + n_vocab].astype(np.float32)


def _width(n_vocab: int) -> int:
    return 2 * ((n_vocab + 1) // 2) + 4
