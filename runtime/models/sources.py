"""Where a weight comes from: the rows of a file's tensor, as a device wants them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..gguf.file import GGUFFile, TensorInfo
from ..ir.dtypes import DType, from_bf16
from ..ir.quants import dequantise, from_file

PIECE_NBYTES = 16 << 20  # read at once
PLAIN = (DType.F32, DType.F16, DType.BF16)

Piece = tuple[int, np.ndarray]  # first row, and the rows as Device.write wants them


@dataclass(frozen=True)
class Source:
    """A tensor of a file; `factor`: where it stands what the tensor is to be multiplied with, one number or one for
    each of its matrices. Of blocks only NVFP4's hold it: all others, and floats, then become F32."""

    file: GGUFFile
    info: TensorInfo
    factor: TensorInfo | None = None

    @property
    def dtype(self) -> DType:
        return DType.F32 if self.factor and self.info.dtype is not DType.NVFP4 else self.info.dtype

    @property
    def n_rows(self) -> int:
        return self.info.n_rows

    @property
    def _row_nbytes(self) -> int:
        return self.info.dtype.file_nbytes(self.info.shape[-1])

    def rows(self, first: int = 0, stop: int | None = None, at: int = 0) -> Iterator[Piece]:
        """Rows [first, stop), by default all, to stand from row `at` on."""
        stop, step = self.n_rows if stop is None else stop, max(1, PIECE_NBYTES // self._row_nbytes)
        factors = self._factors()
        for row in range(first, stop, step):
            n, start = min(step, stop - row), row * self._row_nbytes
            raw = self.file.read(self.info, start=start, nbytes=n * self._row_nbytes).reshape(n, -1)
            yield at + row - first, self._made(raw, factors if len(factors) == 1 else factors[row : row + n])

    def runs(self, picked: np.ndarray) -> Iterator[Piece]:
        """The picked rows, in that order."""
        at = 0
        for run in np.split(picked, np.flatnonzero(np.diff(picked) != 1) + 1):
            yield from self.rows(int(run[0]), int(run[-1]) + 1, at)
            at += len(run)

    def floats(self) -> np.ndarray:
        """float32, in the tensor's shape."""
        raw = self.file.read(self.info).reshape(self.n_rows, -1)
        made, dtype = self._made(raw, self._factors()), self.dtype
        if dtype.is_quantised:
            made = dequantise(made, dtype, self.info.shape[-1])
        made = from_bf16(made) if dtype is DType.BF16 else made.astype(np.float32)
        return made.reshape(self.info.shape)

    def _factors(self) -> np.ndarray:
        """float32, one for all rows or one a row."""
        if self.factor is None:
            return np.ones(1, np.float32)
        found = Source(self.file, self.factor).floats().reshape(-1)
        if not np.isfinite(found).all():
            raise ModelError(f"{self.factor.name}: values that are not finite, expected factors of {self.info.name}")
        return found if len(found) == 1 else np.repeat(found, self.n_rows // len(found))

    def _made(self, raw: np.ndarray, factors: np.ndarray) -> np.ndarray:
        dtype = self.info.dtype
        if self.dtype.is_quantised:
            return from_file(raw, dtype, factors)
        if self.factor is None:
            return raw.view(dtype.numpy)
        return _floats(raw, dtype, self.info.shape[-1]) * factors[:, None]


def _floats(raw: np.ndarray, dtype: DType, n: int) -> np.ndarray:
    """float32 [rows, n] of a file's rows."""
    if dtype.is_quantised:
        return dequantise(raw, dtype, n)
    numbers = raw.view(dtype.numpy)
    return from_bf16(numbers) if dtype is DType.BF16 else numbers.astype(np.float32)
