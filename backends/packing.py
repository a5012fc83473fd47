"""How storages and arguments reach a device, whatever its API: block types row by row as runtime/ir/quants.py packs
them, other numbers as they are, and the arguments of a kernel as 32-bit words."""

from collections.abc import Callable, Iterator

import numpy as np

from ..runtime.errors import BackendError
from ..runtime.ir.quants import pack_rows, packed_row_nbytes, unpack_rows
from ..runtime.ir.tensor import Storage, Tensor
from ..shaders.interface import OrderedCall

Fill = Callable[[np.ndarray], None]  # writes a chunk of bytes into the memory it is given


def packed_nbytes(storage: Storage) -> int:
    """Bytes that a storage takes on the device: whole 32-bit words, since shaders load words, and at least one."""
    if storage.dtype.is_quantised:
        return max(4, n_rows(storage) * packed_row_nbytes(storage.dtype, storage.shape[-1]))
    return max(4, -(-storage.nbytes // 4) * 4)


def packed_range(t: Tensor) -> tuple[int, int]:
    """The bytes of its storage that a tensor can touch, half-open."""
    lo, hi = t.layout.span
    if t.dtype.is_quantised:
        n, size = max(1, t.storage.shape[-1]), packed_row_nbytes(t.dtype, t.storage.shape[-1])
        return lo // n * size, -(-hi // n) * size
    return lo * t.dtype.block_bytes, hi * t.dtype.block_bytes


def n_rows(storage: Storage) -> int:
    return storage.n_elements // max(1, storage.shape[-1]) if storage.shape else 1


def row_nbytes(storage: Storage) -> tuple[int, int]:
    """Bytes of a row on the host, and on the device."""
    n = storage.shape[-1] if storage.shape else 1
    host = storage.dtype.nbytes(n)
    return host, packed_row_nbytes(storage.dtype, n) if storage.dtype.is_quantised else host


def host_bytes(storage: Storage, data: np.ndarray, row: int) -> np.ndarray:
    """The data as contiguous bytes. BackendError when dtype or extent do not fit the storage."""
    size, _ = row_nbytes(storage)
    if data.dtype != storage.dtype.numpy:
        raise BackendError(f"{storage.name}: data of dtype {data.dtype}, expected {storage.dtype.numpy}")
    if data.nbytes % max(1, size):
        raise BackendError(f"{storage.name}: {data.nbytes} bytes, expected whole rows of {size}")
    n = data.nbytes // max(1, size)
    if row < 0 or row + n > n_rows(storage):
        raise BackendError(f"{storage.name}: rows {row} to {row + n}, it has {n_rows(storage)}")
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def read_range(storage: Storage, row: int, rows: int | None) -> tuple[int, int]:
    """The device's bytes that a read of some rows, or of all, asks for: where they begin, and how many. BackendError
    where the storage has no such rows."""
    if rows is None and not storage.dtype.is_quantised:
        return 0, storage.nbytes
    rows = n_rows(storage) if rows is None else rows
    if row < 0 or rows < 0 or row + rows > n_rows(storage):
        raise BackendError(f"{storage.name}: rows {row} to {row + rows}, it has {n_rows(storage)}")
    _, size = row_nbytes(storage)
    return row * size, rows * size


def array_of(storage: Storage, raw: np.ndarray, rows: int | None = None) -> np.ndarray:
    """A storage's content, or some rows of it, of the bytes that the device holds for it."""
    shape = storage.array_shape
    if storage.dtype.is_quantised:
        raw = unpack_rows(raw.reshape(-1, row_nbytes(storage)[1]), storage.dtype, storage.shape[-1])
    return raw.view(storage.dtype.numpy).reshape(shape if rows is None else (rows, shape[-1]))


def device_bytes(storage: Storage, raw: np.ndarray) -> np.ndarray:
    """What host_bytes gave as the device holds it."""
    if not storage.dtype.is_quantised or not raw.size:
        return raw
    return pack_rows(raw.reshape(-1, row_nbytes(storage)[0]), storage.dtype).reshape(-1)


def chunks(storage: Storage, raw: np.ndarray, limit: int) -> Iterator[tuple[int, Fill]]:
    """Bytes and writers of whole rows (of a part of a row where one exceeds the limit), packed as they are written."""
    host, device = row_nbytes(storage)
    if not storage.dtype.is_quantised or not raw.size:
        yield from ((len(part), _copier(part)) for part in _cut(raw, limit))
        return
    if device > limit:
        raise BackendError(f"{storage.name}: a row of {device} bytes, at most {limit} can be packed at once")
    rows = raw.reshape(-1, host)
    for part in _cut(rows, limit // device):
        yield len(part) * device, _packer(storage, part, device)


def _cut(array: np.ndarray, n: int) -> Iterator[np.ndarray]:
    return (array[i : i + n] for i in range(0, len(array), n))


def _copier(part: np.ndarray) -> Fill:
    def fill(out: np.ndarray) -> None:
        out[:] = part

    return fill


def _packer(storage: Storage, part: np.ndarray, device: int) -> Fill:
    def fill(out: np.ndarray) -> None:
        pack_rows(part, storage.dtype, out.reshape(len(part), device))

    return fill


def argument_bytes(call: OrderedCall, base: Callable[[Storage], int]) -> bytes:
    """A kernel's arguments, given the byte at which each storage starts in what is bound for it."""
    return call.words.pack(*(start_of(w, base) if isinstance(w, Tensor) else w for w in call.arguments))


def start_of(t: Tensor, base: Callable[[Storage], int]) -> int:
    """Where a tensor starts in what is bound, in elements, or in 32-bit words for packed block types."""
    if t.dtype.is_quantised:
        n = t.storage.shape[-1]
        return (base(t.storage) + t.layout.offset // max(1, n) * packed_row_nbytes(t.dtype, n)) // 4
    return base(t.storage) // t.dtype.block_bytes + t.layout.offset
