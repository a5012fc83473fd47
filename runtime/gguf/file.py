"""A checked reader of GGUF files: little-endian, versions 2 and 3; a model may be in several (see parts.py).

The file is untrusted. It is read with positioned reads and never mapped, so that a file cut short while in use is an
error and not a crash. Strings are UTF-8 with surrogateescape: `text.encode("utf-8", "surrogateescape")` gives back
the file's very bytes.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np

from ..errors import GGUFError, UsageError
from .header import Header, TensorInfo, check_inside, read_header
from .keys import GGUFKeys, printable
from .parts import check_parts, merged_tensors, paths_of_parts
from .raw import RawFile


@dataclass(frozen=True)
class Part:
    """An open file and its header."""

    raw: RawFile
    header: Header


class GGUFFile(GGUFKeys):
    """An open GGUF file: `path`, `version`, `size`, `alignment`, `keys`, `types`, `tensors`. Of several parts size and
    tensors are those of all, the rest is the first one's.

    Reading is safe from several threads. Everything wrong with the file is a GGUFError of one line.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        first = parts[0].header
        super().__init__(MappingProxyType(first.keys), MappingProxyType(first.types))
        self._raws = [part.raw for part in parts]
        self.path, self.size = self._raws[0].path, sum(raw.size for raw in self._raws)
        self.version, self.alignment = first.version, first.alignment
        self.tensors = MappingProxyType(merged_tensors([part.header for part in parts]))

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, header_only: bool = False) -> Self:
        """Read the header and check all of it, of every part where the model is in several; any of them may be named.

        With header_only the tensors' data may be missing (for planning).
        """
        with ExitStack() as opened:
            part = _open_part(path, header_only, opened)
            parts = [part]
            if others := paths_of_parts(part.raw.path, part.header):
                named = os.path.basename(part.raw.path)
                parts = [part if os.path.basename(p) == named else _open_part(p, header_only, opened) for p in others]
                check_parts([part.header for part in parts], others)
            made = cls(parts)
            opened.pop_all()
            return made

    @property
    def n_parts(self) -> int:
        return len(self._raws)

    def close(self) -> None:
        for raw in self._raws:
            raw.close()

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
            self._raws[info.part].read_into(view.cast("B"), info.offset + start, f"tensor {printable(info.name)}")

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


def _open_part(path: str | os.PathLike[str], header_only: bool, opened: ExitStack) -> Part:
    raw = RawFile(path)
    opened.callback(raw.close)
    try:
        header = read_header(raw.read_into, raw.size)
        if not header_only:
            check_inside(header.tensors.values(), raw.size)
    except GGUFError as error:
        raise GGUFError(f"{printable(raw.path, 500)}: {error}") from None
    return Part(raw, header)


def _is_same_but_for_ones(info: TensorInfo, shape: tuple[int, ...]) -> bool:
    """A row of blocks stays the last axis."""
    rows_stay = not info.dtype.is_quantised or info.shape[-1] == shape[-1]
    return rows_stay and [n for n in info.shape if n != 1] == [n for n in shape if n != 1]


def _check_range(info: TensorInfo, start: int, n: int) -> None:
    if start < 0 or n < 0 or start + n > info.nbytes:
        raise UsageError(f"{printable(info.name)}: bytes {start} to {start + n}, expected within 0 to {info.nbytes}")
