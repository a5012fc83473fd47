"""Weights of a model: which tensors of the file become which storages, and how their rows stream onto a device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..gguf.file import GGUFFile, TensorInfo
from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.tensor import Kind, Storage, Tensor
from .sources import PLAIN, Piece, Source

CONSTANT_ROWS = 1 << 14  # made at once


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
        self.used: set[str] = set()  # tensors of the file

    def __getstate__(self) -> dict[str, object]:
        """Nothing: what declares no more needs no file, see runtime/engine/planner.py."""
        return {}

    def has(self, name: str) -> bool:
        return name in self._file.tensors

    def do_without(self, *names: str) -> None:
        """Tensors that a file may carry and the model has no use for, as other ones hold the same or more."""
        self.used.update(names)

    def n_rows(self, name: str) -> int:
        """Of a matrix in the file; 0 where there is none."""
        info = self._file.tensors.get(name)
        return info.n_rows if info else 0

    def matrix(self, name: str, shape: Shape, apart: bool = False) -> Tensor:
        """A weight in the file's own type; where the file has a factor for it, see `factor`, times that and as floats;
        apart: without it, and in its own type."""
        source = self._source(name, shape, apart)
        return self._declare(name, source.dtype, shape, source.rows)

    def factor(self, name: str, n: int = 1) -> Tensor | None:
        """What a matrix declared `apart` still has to be multiplied with, [n], one number for each of its n matrices:
        the tensor that is named `.scale` where the matrix is named `.weight`."""
        weight, scale = self._file.tensor(name + ".weight"), self._file.tensors.get(name + ".scale")
        is_apart = scale is not None and scale.n_elements == n and weight.dtype is not DType.NVFP4
        return self.vector(name + ".scale", (n,)) if is_apart else None

    def vector(self, name: str, shape: Shape) -> Tensor:
        """A small weight as F32, whatever float it is stored as: F16 and BF16 vectors hit slow paths."""
        made = self.numbers(name, shape)
        return self._declare(name, DType.F32, shape, lambda: iter([(0, made())]))

    def numbers(self, name: str, shape: Shape) -> Callable[[], np.ndarray]:
        """A small float tensor for the host alone: checked now, read when asked for, as float32."""
        info = self._tensor(name, shape)
        if info.dtype not in PLAIN:
            raise ModelError(f"{name}: dtype {info.dtype.name}, expected F32, F16 or BF16")
        return Source(self._file, info).floats

    def rows(self, name: str, shape: Shape, picked: np.ndarray, part: str) -> Tensor:
        """The picked rows of a matrix, in that order, as a weight `name:part` of its own."""
        source = self._source(name, shape)
        return self._declare(f"{name}:{part}", source.dtype, (len(picked), shape[1]), lambda: source.runs(picked))

    def stacked(self, names: Sequence[str], shape: Shape) -> Tensor | None:
        """The rows of matrices of one shape, those of one after those of the other, so that a product makes both; None
        where their types differ or a factor stands beside one."""
        sources = [self._source(name, shape) for name in names]
        if len({s.dtype for s in sources}) > 1 or any(s.factor for s in sources):
            return None

        def pieces() -> Iterator[Piece]:
            for i, source in enumerate(sources):
                yield from source.rows(at=i * shape[0])

        name = "+".join((names[0], *(n.rpartition(".")[0].rpartition(".")[2] for n in names[1:])))
        return self._declare(name, sources[0].dtype, (len(names) * shape[0], *shape[1:]), pieces)

    def swapped(self, name: str, shape: Shape, part: slice) -> Tensor:
        """Of a matrix [B * M, K], `shape` being (B, M, K), the rows in `part` of each M, rows and columns swapped:
        [B, K, m], in floats, since blocks do not turn."""
        source = self._source(name, (shape[0] * shape[1], shape[2]))
        dtype = DType.F32 if source.dtype in (DType.F32, DType.BF16) else DType.F16
        made = (shape[0], shape[2], len(range(shape[1])[part]))

        def pieces() -> Iterator[Piece]:
            whole = source.floats().reshape(shape)
            yield 0, np.swapaxes(whole[:, part], 1, 2).astype(dtype.numpy).reshape(-1, made[2])

        return self._declare(f"{name}:swapped", dtype, made, pieces)

    def _source(self, name: str, shape: Shape, apart: bool = False) -> Source:
        info = self._tensor(name, shape)
        if info.dtype is DType.I32:
            raise ModelError(f"{name}: dtype I32, expected a float or block type")
        scale = name.removesuffix(".weight") + ".scale"
        n = self._file.tensor(scale).n_elements if self.has(scale) else 0
        stays = apart and info.dtype is not DType.NVFP4 and (n > 1 or len(shape) < 3)
        if n == 0 or stays:
            return Source(self._file, info)
        return Source(self._file, info, self._tensor(scale, (1,) if n == 1 or len(shape) < 3 else shape[:1]))

    def _tensor(self, name: str, shape: Shape) -> TensorInfo:
        self.used.add(name)
        return self._file.tensor(name, shape)

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
