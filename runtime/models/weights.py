"""Weights of a model: which tensors of the file become which storages, and how their rows stream onto a device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..gguf.file import GGUFFile, TensorInfo
from ..ir.dtypes import DType, from_bf16
from ..ir.layout import Shape
from ..ir.quants import dequantise
from ..ir.tensor import Kind, Storage, Tensor

PIECE_NBYTES = 16 << 20  # read at once
CONSTANT_ROWS = 1 << 14  # made at once

Piece = tuple[int, np.ndarray]  # first row, and the rows as Device.write wants them


@dataclass(frozen=True)
class Upload:
    """A storage and the pieces that fill it."""

    storage: Storage
    pieces: Callable[[], Iterator[Piece]]


class Weights:
    """Declares tensors over a file: each is checked now and read only when its pieces are asked for."""

    def __init__(self, f: GGUFFile) -> None:
        self._file = f
        self.uploads: list[Upload] = []

    def has(self, name: str) -> bool:
        return name in self._file.tensors

    def n_rows(self, name: str) -> int:
        """Of a matrix in the file; 0 where there is none."""
        info = self._file.tensors.get(name)
        return info.shape[0] if info else 0

    def matrix(self, name: str, shape: Shape) -> Tensor:
        """A weight in the file's own type."""
        info = self._file.tensor(name, shape)
        if info.dtype is DType.I32:
            raise ModelError(f"{name}: dtype I32, expected a float or block type")
        return self._declare(name, info.dtype, shape, lambda: _stream(self._file, info))

    def vector(self, name: str, shape: Shape) -> Tensor:
        """A small weight as F32, whatever float it is stored as: F16 and BF16 vectors hit slow paths."""
        made = self.numbers(name, shape)
        return self._declare(name, DType.F32, shape, lambda: iter([(0, made())]))

    def numbers(self, name: str, shape: Shape) -> Callable[[], np.ndarray]:
        """A small float tensor for the host alone: checked now, read when asked for, as float32."""
        info = self._file.tensor(name, shape)
        if info.dtype not in (DType.F32, DType.F16, DType.BF16):
            raise ModelError(f"{name}: dtype {info.dtype.name}, expected F32, F16 or BF16")
        return lambda: _as_float32(self._file, info).reshape(shape)

    def rows(self, name: str, shape: Shape, picked: np.ndarray, part: str) -> Tensor:
        """The picked rows of a matrix, in that order, as a weight `name:part` of its own."""
        info = self._file.tensor(name, shape)
        pieces = lambda: _stream_runs(self._file, info, picked)  # noqa: E731
        return self._declare(f"{name}:{part}", info.dtype, (len(picked), shape[1]), pieces)

    def swapped(self, name: str, shape: Shape, part: slice) -> Tensor:
        """Of a matrix [B * M, K], `shape` being (B, M, K), the rows in `part` of each M, rows and columns swapped:
        [B, K, m], in floats, since blocks do not turn."""
        info = self._file.tensor(name, (shape[0] * shape[1], shape[2]))
        dtype = DType.F32 if info.dtype in (DType.F32, DType.BF16) else DType.F16
        made = (shape[0], shape[2], len(range(shape[1])[part]))

        def pieces() -> Iterator[Piece]:
            whole = _as_float32(self._file, info).reshape(shape)
            yield 0, np.swapaxes(whole[:, part], 1, 2).astype(dtype.numpy).reshape(-1, made[2])

        return self._declare(f"{name}:swapped", dtype, made, pieces)

    def constant(self, name: str, shape: Shape, made: Callable[[int, int], np.ndarray]) -> Tensor:
        """F32 numbers that the host computes: made(first, stop) gives these rows."""

        def pieces() -> Iterator[Piece]:
            for row in range(0, shape[0], CONSTANT_ROWS):
                yield row, made(row, min(row + CONSTANT_ROWS, shape[0])).astype(np.float32)

        return self._declare(name, DType.F32, shape, pieces, Kind.CONSTANT)

    @property
    def nbytes(self) -> int:
        return sum(u.storage.nbytes for u in self.uploads)

    def _declare(
        self,
        name: str,
        dtype: DType,
        shape: Shape,
        pieces: Callable[[], Iterator[Piece]],
        kind: Kind = Kind.WEIGHT,
    ) -> Tensor:
        storage = Storage(name, kind, dtype, tuple(shape))
        self.uploads.append(Upload(storage, pieces))
        return storage.tensor()


def _stream(f: GGUFFile, info: TensorInfo) -> Iterator[Piece]:
    return _stream_range(f, info, 0, info.nbytes // info.dtype.nbytes(info.shape[-1]), 0)


def _stream_range(f: GGUFFile, info: TensorInfo, first: int, stop: int, at: int) -> Iterator[Piece]:
    """Rows [first, stop) of the file's tensor, to stand from row `at` on."""
    nbytes = info.dtype.nbytes(info.shape[-1])
    step = max(1, PIECE_NBYTES // nbytes)
    for row in range(first, stop, step):
        n = min(step, stop - row)
        data = f.read(info, start=row * nbytes, nbytes=n * nbytes).view(info.dtype.numpy)
        yield at + row - first, data.reshape(n, -1)


def _stream_runs(f: GGUFFile, info: TensorInfo, picked: np.ndarray) -> Iterator[Piece]:
    cuts = np.flatnonzero(np.diff(picked) != 1) + 1
    at = 0
    for run in np.split(picked, cuts):
        yield from _stream_range(f, info, int(run[0]), int(run[-1]) + 1, at)
        at += len(run)


def _as_float32(f: GGUFFile, info: TensorInfo) -> np.ndarray:
    raw = f.read_array(info)
    if info.dtype.is_quantised:
        return dequantise(raw, info.dtype, info.shape[-1])
    return from_bf16(raw) if info.dtype is DType.BF16 else raw.astype(np.float32)
