"""A checked reader of GGUF files: little-endian, versions 2 and 3.

The file is untrusted. It is read with positioned reads and never mapped, so that a file cut short while in use is an
error and not a crash. Strings are UTF-8 with surrogateescape: `text.encode("utf-8", "surrogateescape")` gives back
the file's very bytes.
"""

import io
import os
import stat
import threading
from dataclasses import replace
from types import MappingProxyType
from typing import Self

import numpy as np

from ..errors import GGUFError, UsageError
from .header import TensorInfo, check_inside, read_header
from .keys import GGUFKeys, printable

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class GGUFFile(GGUFKeys):
    """An open GGUF file: `path`, `version`, `size`, `alignment`, `keys`, `types`, `tensors`.

    Reading is safe from several threads. Everything wrong with the file is a GGUFError of one line.
    """

    def __init__(self, raw: "_RawFile", header_only: bool) -> None:
        header = read_header(raw.read_into, raw.size)
        if not header_only:
            check_inside(header.tensors.values(), raw.size)
        super().__init__(MappingProxyType(header.keys), MappingProxyType(header.types))
        self.path, self.size, self._raw = raw.path, raw.size, raw
        self.version, self.alignment, self.tensors = header.version, header.alignment, MappingProxyType(header.tensors)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, header_only: bool = False) -> Self:
        """Read the header and check all of it. With header_only the tensors' data may be missing (for planning)."""
        raw = _RawFile(path)
        try:
            return cls(raw, header_only)
        except GGUFError as error:
            raw.close()
            raise GGUFError(f"{printable(raw.path, 500)}: {error}") from None
        except BaseException:
            raw.close()
            raise

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> TensorInfo:
        """The tensor of that name, in that shape; GGUFError if it is missing or has another one.

        Axes of 1 make no difference, as converters leave and add them: the bytes are the same.
        """
        info = self.tensors.get(name)
        if info is None:
            raise GGUFError(f"{printable(name)}: missing tensor" + (f", expected shape {shape}" if shape else ""))
        if shape is None or info.shape == tuple(shape):
            return info
        if not _is_same_but_for_ones(info, shape):
            raise GGUFError(f"{printable(name)}: shape {info.shape}, expected {tuple(shape)}")
        return replace(info, shape=tuple(shape))

    def read_into(self, info: TensorInfo, view: memoryview, start: int = 0) -> None:
        """Fill the view with the tensor's bytes from byte `start` on."""
        _check_range(info, start, view.nbytes)
        if view.nbytes:
            self._raw.read_into(view.cast("B"), info.offset + start, f"tensor {printable(info.name)}")

    def read(
        self, info: TensorInfo, out: np.ndarray | None = None, start: int = 0, nbytes: int | None = None
    ) -> np.ndarray:
        """uint8 [nbytes] from byte `start` on (the rest of the tensor by default), in `out`'s first bytes if given."""
        n = info.nbytes - start if nbytes is None else nbytes
        _check_range(info, start, n)
        if out is not None and (out.dtype != np.uint8 or out.ndim != 1 or len(out) < n):
            raise UsageError(f"{printable(info.name)}: out is {out.dtype} {out.shape}, expected uint8 ({n},) or longer")
        data = np.empty(n, np.uint8) if out is None else out[:n]
        self.read_into(info, data.data, start)
        return data

    def read_array(self, info: TensorInfo) -> np.ndarray:
        """The whole tensor: numbers in its shape (BF16 as uint16), blocks as uint8 [..., bytes of a row]."""
        data = self.read(info).view(info.dtype.numpy.newbyteorder("<"))
        return data.reshape((*info.shape[:-1], -1)) if info.dtype.is_quantised else data.reshape(info.shape)


def _is_same_but_for_ones(info: TensorInfo, shape: tuple[int, ...]) -> bool:
    """A row of blocks stays the last axis."""
    rows_stay = not info.dtype.is_quantised or info.shape[-1] == shape[-1]
    return rows_stay and [n for n in info.shape if n != 1] == [n for n in shape if n != 1]


def _check_range(info: TensorInfo, start: int, n: int) -> None:
    if start < 0 or n < 0 or start + n > info.nbytes:
        raise UsageError(f"{printable(info.name)}: bytes {start} to {start + n}, expected within 0 to {info.nbytes}")


class _RawFile:
    """A regular file open for positioned reads; its size is that at opening."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        shown = printable(self.path, 500)
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            # without O_NONBLOCK the open of a FIFO waits for a writer
            fd = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except (OSError, ValueError) as error:
            raise GGUFError(f"{shown}: cannot open: {getattr(error, 'strerror', None) or error}") from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise GGUFError(f"{shown}: {_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, expected a GGUF file")
        self.size = status.st_size
        self._lock = threading.Lock()
        self._file = io.FileIO(fd, "rb")

    def close(self) -> None:
        self._file.close()

    def read_into(self, view: memoryview, offset: int, what: str) -> None:
        """Fill the view from the offset; GGUFError where the file ends early or cannot be read."""
        if self._file.closed:
            raise UsageError(f"{printable(self.path)}: read of {what} after close")
        done = 0
        while done < len(view):
            try:
                n = self._read_once(view[done:], offset + done)
            except OSError as error:
                raise GGUFError(f"{what}: cannot read at byte {offset + done}: {error.strerror}") from None
            if n == 0:
                raise GGUFError(f"{what}: file ends at byte {offset + done}, expected {offset + len(view)}")
            done += n

    def _read_once(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:  # a system without positioned reads into a buffer
            self._file.seek(offset)
            return self._file.readinto(view)
