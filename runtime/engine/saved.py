"""Sessions in files: the tokens of a cache slot with their keys and states, written whole or not at all.

A file is, all of it little-endian: MAGIC; VERSION and the header's length, uint32; the header in JSON; the tokens,
int32 [n_tokens]; the keys in pieces (see parked.pieces), of each piece the rows of one cache after the other; those of
rings likewise, from token n_lost on; the states by position, of each one recurrent state after the other; and the
digest of all that. It is untrusted: whatever is not just so is a SessionError of one line.
"""

import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Self

import numpy as np

from ..errors import SessionError
from ..ir.dtypes import DType
from .parked import Arrays, Source, pieces

MAGIC, VERSION = b"vkrun session\n", 2
HEAD = Struct("<14sII")
MAX_HEADER = 1 << 20  # bytes
N_DIGEST = 32
NOT_ONE = "no session that vkrun saved"

_TYPES = {"<f4": DType.F32, "<f2": DType.F16, "|V34": DType.Q8_0}
Widths = list[tuple[str, int]]  # of each cache's row or each state: dtype, and how many numbers or blocks


@dataclass(frozen=True)
class Form:
    """What a session must be to be gone on from: of the same model, with rows and states of the same sizes."""

    model: str
    n_vocab: int
    n_ctx: int
    rows: Widths
    states: Widths
    ring_rows: Widths


@dataclass(frozen=True)
class Header:
    model: str
    n_tokens: int
    rows: Widths
    states: Widths
    ring_rows: Widths
    positions: list[int]  # ascending, of the states
    n_lost: int  # tokens that rings hold no more, the first ones

    @property
    def nbytes(self) -> int:
        """Of all that follows the header."""
        rows, states, ring_rows = map(_nbytes, (self.rows, self.states, self.ring_rows))
        in_rings = (self.n_tokens - self.n_lost) * ring_rows
        return self.n_tokens * (4 + rows) + in_rings + len(self.positions) * states + N_DIGEST


def _nbytes(widths: Widths) -> int:
    return sum(np.dtype(dtype).itemsize * n for dtype, n in widths)


def save(
    path: Path,
    form: Form,
    cache: int,
    ids: Sequence[int],
    states: Mapping[int, int],
    source: Source,
    n_lost: int = 0,
) -> None:
    """Write what a cache slot holds, and the state slots at some positions of it, in the place of what stood there.
    n_lost: see Header."""
    positions = sorted(states) if form.states else []
    header = Header(form.model, len(ids), form.rows, form.states, form.ring_rows, positions, n_lost)
    text = json.dumps(asdict(header)).encode()
    digest = blake2b(digest_size=N_DIGEST)
    with _whole(path) as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(HEAD.pack(MAGIC, VERSION, len(text)) + text)
        put(np.asarray(ids, "<i4").data)
        for array in _arrays(source, header, cache, states):
            put(_little(array))
        file.write(digest.digest())


def _arrays(source: Source, header: Header, cache: int, states: Mapping[int, int]) -> Iterator[np.ndarray]:
    """What stands behind the tokens."""
    for start, stop in pieces(0, header.n_tokens):
        yield from source.take_keys(cache, start, stop)
    for start, stop in pieces(header.n_lost, header.n_tokens) if header.ring_rows else ():
        yield from source.take_rings(cache, start, stop)
    for pos in header.positions:
        yield from source.take_state(states[pos])


def _little(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A new file, for its owner alone, that takes the path's place once all is written."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise SessionError(f"{path}: cannot save: {error.strerror}; what was there stays") from None
    finally:
        with suppress(OSError):
            scratch.unlink()


class Session:
    """An open file, of which header and tokens are read. To be used in order: pieces(), ring_pieces(), states(),
    finish()."""

    def __init__(self, file: BinaryIO, path: Path, form: Form) -> None:
        self._file, self._path, self._form = file, path, form
        self._digest = blake2b(digest_size=N_DIGEST)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SessionError(f"{path}: {NOT_ONE}")
        self.header = self._header(status.st_size)
        ids = np.frombuffer(self._take(4 * self.header.n_tokens), "<i4")
        if bad := next((int(i) for i in ids if not 0 <= i < form.n_vocab), None):
            raise SessionError(f"{path}: token {bad}, expected 0 to {form.n_vocab - 1}")
        self.ids: list[int] = ids.tolist()

    @classmethod
    @contextmanager
    def open(cls, path: Path, form: Form) -> Iterator[Self]:
        try:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            with open(os.open(path, flags), "rb") as file:
                yield cls(file, path, form)
        except OSError as error:
            raise SessionError(f"{path}: cannot read: {error.strerror}") from None

    def pieces(self) -> Iterator[tuple[int, Arrays]]:
        """Where rows begin, and those of each cache."""
        for start, stop in pieces(0, self.header.n_tokens):
            yield start, [self._array(dtype, stop - start, n) for dtype, n in self.header.rows]

    def ring_pieces(self) -> Iterator[tuple[int, Arrays]]:
        """As pieces(), of rings."""
        header = self.header
        for start, stop in pieces(header.n_lost, header.n_tokens) if header.ring_rows else ():
            yield start, [self._array(dtype, stop - start, n) for dtype, n in header.ring_rows]

    def states(self) -> Iterator[tuple[int, Arrays]]:
        for pos in self.header.positions:
            yield pos, [self._array(dtype, n) for dtype, n in self.header.states]

    def finish(self) -> None:
        """SessionError where anything was not as it was written."""
        found = self._digest.digest()
        if self._file.read(N_DIGEST + 1) != found:
            raise SessionError(f"{self._path}: damaged, its digest is another one")

    def _header(self, size: int) -> Header:
        magic, version, length = HEAD.unpack(self._take(HEAD.size))
        if magic != MAGIC or length > MAX_HEADER:
            raise SessionError(f"{self._path}: {NOT_ONE}")
        if version != VERSION:
            raise SessionError(f"{self._path}: version {version}, expected {VERSION}")
        header = _checked(self._take(length), self._path, self._form)
        if (wanted := HEAD.size + length + header.nbytes) != size:
            raise SessionError(f"{self._path}: {size} bytes, expected {wanted}")
        return header

    def _take(self, n: int) -> bytes:
        data = self._file.read(n)
        if len(data) != n:
            raise SessionError(f"{self._path}: {NOT_ONE}, or cut short")
        self._digest.update(data)
        return data

    def _array(self, dtype: str, *shape: int) -> np.ndarray:
        kind = np.dtype(dtype)
        data = np.frombuffer(self._take(int(np.prod(shape)) * kind.itemsize), kind.newbyteorder("<")).reshape(shape)
        if not np.isfinite(_floats(data)).all():  # such would count even where they are masked
            raise SessionError(f"{self._path}: holds numbers that are not finite")
        return data.astype(kind, copy=False)


def _checked(text: bytes, path: Path, form: Form) -> Header:
    """SessionError unless it is a header of this form."""
    try:
        said = json.loads(text)
        sizes = [[(str(d), int(n)) for d, n in said[name]] for name in ("rows", "states", "ring_rows")]
        rows, states, ring_rows = sizes
        header = Header(
            str(said["model"]), said["n_tokens"], rows, states, ring_rows, said["positions"], said["n_lost"]
        )
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise SessionError(f"{path}: {NOT_ONE}") from None
    if header.model != form.model:
        raise SessionError(f"{path}: saved with another model, {header.model:.12}, expected {form.model:.12}")
    if header.rows != form.rows and _n_numbers(header.rows) == _n_numbers(form.rows):
        made, wanted = _types(header.rows), _types(form.rows)
        raise SessionError(f"{path}: caches of {made}, expected {wanted} as this model was loaded")
    if sizes != [form.rows, form.states, form.ring_rows]:
        raise SessionError(f"{path}: caches and states of other sizes, as another version of vkrun has them")
    if type(header.n_tokens) is not int or not 0 < header.n_tokens <= form.n_ctx:
        raise SessionError(f"{path}: {header.n_tokens!r:.20} tokens, the context holds 1 to {form.n_ctx}")
    if type(header.n_lost) is not int or not 0 <= header.n_lost <= header.n_tokens:
        raise SessionError(f"{path}: {header.n_lost!r:.20} of {header.n_tokens} tokens lost")
    if not _are_positions(header.positions, header.n_tokens) or (header.positions and not form.states):
        raise SessionError(f"{path}: states at positions {header.positions!r:.40}")
    return header


def _floats(data: np.ndarray) -> np.ndarray:
    """The numbers themselves, or the scales of blocks of Q8_0, which begin with them."""
    return data.view([("d", "<f2"), ("codes", "V32")])["d"] if data.dtype.kind == "V" else data


def _n_numbers(rows: Widths) -> list[int]:
    """Of each row, -1 of a type that none are kept as."""
    return [n * _TYPES[dtype].block if dtype in _TYPES else -1 for dtype, n in rows]


def _types(rows: Widths) -> str:
    """`f16`, or several."""
    return "/".join(dict.fromkeys(_TYPES[dtype].name.lower() for dtype, _ in rows))


def _are_positions(said: object, n: int) -> bool:
    """Ascending, from 1 to n."""
    if not isinstance(said, list) or not all(type(pos) is int for pos in said):
        return False
    return all(a < b for a, b in zip([0, *said], [*said, n + 1], strict=True))
