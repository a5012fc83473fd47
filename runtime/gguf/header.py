"""The header of a GGUF file: its keys and its list of tensors, parsed and checked.

The bytes are untrusted: every count and length is held against the bytes left before anything is allocated for it,
arrays do not nest, and no tensor may be misaligned or overlap another.
"""

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import GGUFError
from ..ir.dtypes import DType
from .keys import INTEGERS, Value, printable

MAX_ALIGNMENT = 1 << 20
MAX_DIMS = 4
MAX_ELEMENTS = 1 << 40  # of one tensor
MAX_HEADER = 64 << 20  # the largest vocabularies of today need some 15 MiB
MAX_NAME = 65535

_CHUNK = 1 << 20
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SCALARS = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", _U32),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<B")),
    10: ("uint64", _U64),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. The shape is in numpy's order (the last axis runs fastest), the offset from the file's
    start; a row of the last axis is a whole number of blocks. part: which of a model's files it is in, from 0."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    part: int = 0

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_rows(self) -> int:
        """Of all its matrices; axes of 1 beyond them make no difference."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class Header:
    version: int
    keys: Mapping[str, Value]
    types: Mapping[str, str]
    alignment: int
    tensors: Mapping[str, TensorInfo]


def read_header(read_into: Callable[[memoryview, int, str], None], size: int) -> Header:
    """Parse the header of a file of `size` bytes; `read_into(view, offset, what)` fills a view from an offset."""
    cursor = _Cursor(read_into, size)
    version, n_tensors, n_keys = _read_preamble(cursor)
    keys, types = _read_keys(cursor, n_keys)
    alignment = _alignment(keys, types)
    return Header(version, keys, types, alignment, _read_tensors(cursor, n_tensors, alignment))


def check_inside(infos: Iterable[TensorInfo], size: int) -> None:
    for info in infos:
        if (end := info.offset + info.nbytes) > size:
            raise GGUFError(f"tensor {printable(info.name)}: ends at byte {end}, the file at byte {size}")


class _Cursor:
    """Walks the header, which is read only as far as it is walked."""

    def __init__(self, read_into: Callable[[memoryview, int, str], None], size: int) -> None:
        self._read_into, self.size = read_into, size
        self.data = bytearray()
        self.pos = 0

    def check_left(self, n: int, what: str) -> None:
        left = self.size - self.pos
        if n > left:
            raise GGUFError(f"{what}: {n} bytes claimed, {left} left in the file")
        if self.pos + n > MAX_HEADER:
            raise GGUFError(f"{what}: ends {self.pos + n} bytes into the header, expected at most {MAX_HEADER}")

    def take(self, n: int, what: str) -> int:
        """Step over n bytes, which then stand in `data`; where they start."""
        start = self.pos
        if start + n > len(self.data):
            self._fetch(n, what)
        self.pos = start + n
        return start

    def peek(self, n: int) -> bytearray:
        """Up to n bytes from here on, which are not stepped over."""
        n = min(n, self.size - self.pos)
        if self.pos + n > len(self.data):
            self._fetch(n, "start of the file")
        return self.data[self.pos : self.pos + n]

    def _fetch(self, n: int, what: str) -> None:
        self.check_left(n, what)
        end = max(self.pos + n, min(len(self.data) + max(_CHUNK, len(self.data)), self.size, MAX_HEADER))
        more = bytearray(end - len(self.data))
        self._read_into(memoryview(more), len(self.data), what)
        self.data.extend(more)

    def u32(self, what: str) -> int:
        return _U32.unpack_from(self.data, self.take(4, what))[0]

    def u64(self, what: str) -> int:
        return _U64.unpack_from(self.data, self.take(8, what))[0]

    def name(self, what: str) -> str:
        n = self.u64(what)
        if not 1 <= n <= MAX_NAME:
            raise GGUFError(f"{what}: name of {n} bytes, expected 1 to {MAX_NAME}")
        return self._text(n, what)

    def _text(self, n: int, what: str) -> str:
        start = self.take(n, what)
        return self.data[start : start + n].decode("utf-8", "surrogateescape")

    def value(self, type_id: int, what: str) -> tuple[str, Value]:
        """The type's name and the value. An array in an array is refused, so there is nothing to recurse into."""
        if type_id == _STRING:
            return "string", self._text(self.u64(what), what)
        if type_id == _ARRAY:
            item, n = self.u32(what), self.u64(what)
            return self._strings(n, what) if item == _STRING else self._numbers(item, n, what)
        name, form = _scalar(type_id, what)
        value = form.unpack_from(self.data, self.take(form.size, what))[0]
        return name, _bools(np.uint8(value), what).item() if name == "bool" else value

    def _numbers(self, type_id: int, n: int, what: str) -> tuple[str, np.ndarray]:
        if type_id == _ARRAY:
            raise GGUFError(f"{what}: an array of arrays, expected an array of numbers or strings")
        name, form = _scalar(type_id, what)
        start = self.take(n * form.size, what)
        raw = bytes(memoryview(self.data)[start : self.pos])
        values = np.frombuffer(raw, form.format)
        return f"array of {name}", _bools(values, what) if name == "bool" else values

    def _strings(self, n: int, what: str) -> tuple[str, list[str]]:
        """One flat loop: a vocabulary has some hundred thousand strings, and a call for each would show."""
        self.check_left(8 * n, what)
        data, pos, end, unpack = self.data, self.pos, len(self.data), _U64.unpack_from
        texts: list[str] = []
        append = texts.append
        for _ in range(n):
            if pos + 8 > end:
                end = self._grow(pos, 8, what)
            start = pos + 8
            size = unpack(data, pos)[0]
            pos = start + size
            if pos > end:
                end = self._grow(start, size, what)
            append(data[start:pos].decode("utf-8", "surrogateescape"))
        self.pos = pos
        return "array of string", texts

    def _grow(self, pos: int, n: int, what: str) -> int:
        self.pos = pos
        self.take(n, what)
        return len(self.data)


def _scalar(type_id: int, what: str) -> tuple[str, struct.Struct]:
    if type_id not in _SCALARS:
        raise GGUFError(f"{what}: value type {type_id}, expected one of 0 to 12")
    return _SCALARS[type_id]


def _bools(values: np.ndarray | np.uint8, what: str) -> np.ndarray:
    largest = int(np.max(values, initial=0))
    if largest > 1:
        raise GGUFError(f"{what}: bool of value {largest}, expected 0 or 1")
    return np.asarray(values, dtype=np.bool_)


def _read_preamble(cursor: _Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys."""
    _check_magic(cursor)
    version = cursor.u32("version")
    if version & 0xFFFF == 0 and version:
        raise GGUFError("a big-endian GGUF file, expected a little-endian one")
    if version not in (2, 3):
        raise GGUFError(f"GGUF version {version}, expected 2 or 3")
    n_tensors, n_keys = cursor.u64("number of tensors"), cursor.u64("number of keys")
    # the shortest tensor is a name's length, the count of dims, one dim, type and offset; the shortest key one byte
    cursor.check_left(n_tensors * (8 + 4 + 8 + 4 + 8), f"{n_tensors} tensors")
    cursor.check_left(n_keys * (8 + 4 + 1), f"{n_keys} keys")
    return version, n_tensors, n_keys


# how other things begin that people hand over as models, and what to tell them
_FOREIGN = (
    (rb"version https://git-lfs", "a Git LFS pointer and not the file itself, which `git lfs pull` fetches"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|!--)", "an HTML page: the link leads to a page about the file"),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML document: most likely a server's error message"),
    (rb"\s*[{\[]", "a JSON text: most likely a server's error message, or a model's index"),
    (rb".{8}\{\"", "a safetensors file; `vkrun convert` makes GGUF of a checkpoint's folder"),
    (rb"PK\x03\x04", "a zip archive, as PyTorch's checkpoints are"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "a compressed file, to be unpacked first"),
    (rb"lmgg|fmgg|tjgg|algg", "a model in GGML's format of before August 2023, which GGUF replaced"),
    (rb"FUGG", "a big-endian GGUF file, expected a little-endian one"),
    (rb"\0{4}", "zeros at its start: a download that was not finished"),
)


def _check_magic(cursor: _Cursor) -> None:
    if not cursor.size:
        raise GGUFError("an empty file (0 bytes): a download that failed, most likely")
    start = bytes(cursor.peek(64))
    if start.startswith(b"GGUF"):
        cursor.take(4, "magic")
        return
    for pattern, what in _FOREIGN:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            raise GGUFError(f"not a GGUF file but {what}")
    raise GGUFError(f"not a GGUF file: starts with {start[:4]!r}, expected {b'GGUF'!r}")


def _read_keys(cursor: _Cursor, n_keys: int) -> tuple[Mapping[str, Value], Mapping[str, str]]:
    keys: dict[str, Value] = {}
    types: dict[str, str] = {}
    for i in range(n_keys):
        key = cursor.name(f"key {i}")
        what = f"key {printable(key)}"
        if key in keys:
            raise GGUFError(f"{what}: stands twice in the file")
        types[key], keys[key] = cursor.value(cursor.u32(what), what)
    return keys, types


def _alignment(keys: Mapping[str, Value], types: Mapping[str, str]) -> int:
    value, kind = keys.get("general.alignment", 32), types.get("general.alignment", "uint32")
    if kind not in INTEGERS or not isinstance(value, int):
        raise GGUFError(f"key general.alignment: type {kind}, expected an integer")
    if not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise GGUFError(f"key general.alignment: {value}, expected a power of two from 1 to {MAX_ALIGNMENT}")
    return value


def _read_tensors(cursor: _Cursor, n_tensors: int, alignment: int) -> Mapping[str, TensorInfo]:
    """The tensor list, then the data's start: the next multiple of the alignment."""
    infos: dict[str, TensorInfo] = {}
    for i in range(n_tensors):
        info = _read_tensor(cursor, i, alignment)
        if info.name in infos:
            raise GGUFError(f"tensor {printable(info.name)}: stands twice in the file")
        infos[info.name] = info
    _check_apart(infos.values())
    start = -(-cursor.pos // alignment) * alignment
    return {name: replace(info, offset=start + info.offset) for name, info in infos.items()}


def _read_tensor(cursor: _Cursor, index: int, alignment: int) -> TensorInfo:
    """One entry of the list; its offset counts from the data's start, which is not yet known."""
    name = cursor.name(f"tensor {index}")
    what = f"tensor {printable(name)}"
    n_dims = cursor.u32(what)
    if not 1 <= n_dims <= MAX_DIMS:
        raise GGUFError(f"{what}: {n_dims} dims, expected 1 to {MAX_DIMS}")
    dims = [cursor.u64(what) for _ in range(n_dims)]
    if min(dims) < 1 or math.prod(dims) > MAX_ELEMENTS:
        raise GGUFError(f"{what}: dims {dims}, expected each 1 or more and at most {MAX_ELEMENTS} elements")
    dtype = _dtype(cursor.u32(what), what)
    if dims[0] % dtype.block:
        raise GGUFError(f"{what}: rows of {dims[0]} elements, expected a multiple of {dtype.name}'s {dtype.block}")
    offset = cursor.u64(what)
    if offset % alignment:
        raise GGUFError(f"{what}: offset {offset}, expected a multiple of the alignment {alignment}")
    return TensorInfo(name, dtype, tuple(reversed(dims)), offset, dtype.file_nbytes(math.prod(dims)))


def _dtype(type_id: int, what: str) -> DType:
    dtype = DType.from_gguf(type_id)
    if dtype is None:
        from gguf import GGMLQuantizationType  # slow to import, and only this error needs it

        known = {int(t): t.name for t in GGMLQuantizationType}
        named = f"{type_id} ({known[type_id]})" if type_id in known else f"{type_id} (unknown)"
        raise GGUFError(f"{what}: type {named}, expected one of {', '.join(d.name for d in DType)}")
    return dtype


def _check_apart(infos: Iterable[TensorInfo]) -> None:
    in_order = sorted(infos, key=lambda info: info.offset)
    for a, b in itertools.pairwise(in_order):
        if b.offset < (end := a.offset + a.nbytes):
            where = f"inside {printable(a.name)}, which ends at {end}"
            raise GGUFError(f"tensor {printable(b.name)}: offset {b.offset} lies {where}")
