"""GGUF files built byte by byte, so that every field can be wrong."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
HUGE = 2**63
MINUS_ONE = 2**64 - 1
_FORMS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


@dataclass(frozen=True)
class BadFile:
    """Bytes that are no sound GGUF file, and a pattern that the error's one line must match."""

    name: str
    data: bytes
    message: str


def number(kind: int, value: float) -> bytes:
    return struct.pack("<" + _FORMS[kind], value)


def string(text: bytes | str, length: int | None = None) -> bytes:
    """A length and the bytes; a length of one's choice makes it lie."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data) if length is None else length) + data


def key(name: bytes | str, kind: int, payload: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + payload


def array(kind: int, payload: bytes, n: int) -> bytes:
    return struct.pack("<IQ", kind, n) + payload


def tensor(
    name: bytes | str, dims: tuple[int, ...], type_id: int = 0, offset: int = 0, n_dims: int | None = None
) -> bytes:
    """An entry of the tensor list; dims as they stand in the file, the fastest first."""
    count = len(dims) if n_dims is None else n_dims
    return (
        string(name)
        + struct.pack("<I", count)
        + struct.pack(f"<{len(dims)}Q", *dims)
        + struct.pack("<IQ", type_id, offset)
    )


def build(
    keys: list[bytes] = [],  # noqa: B006 (never changed)
    tensors: list[bytes] = [],  # noqa: B006
    data: bytes = b"",
    magic: bytes = b"GGUF",
    version: int = 3,
    n_tensors: int | None = None,
    n_keys: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = len(tensors) if n_tensors is None else n_tensors, len(keys) if n_keys is None else n_keys
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def good_file() -> bytes:
    """A small sound file with a key of every type and two tensors; its last byte is the last tensor's."""
    return build(
        good_keys(), [tensor("a.weight", (32, 2), 2), tensor("b", (3,), 0, 64)], bytes(range(64)) + b"\x11" * 12
    )


def good_keys() -> list[bytes]:
    numbers = [(U8, 200), (I8, -3), (U16, 60000), (I16, -300), (U32, 2**31), (I32, -7), (F32, 0.5), (BOOL, 1)]
    numbers += [(U64, 2**40), (I64, -(2**40)), (F64, 0.25)]
    keys = [key(f"n.{kind}", kind, number(kind, value)) for kind, value in numbers]
    keys += [key(f"a.{kind}", ARRAY, array(kind, number(kind, value) * 2, 2)) for kind, value in numbers]
    keys.append(key("general.architecture", STRING, string("test")))
    return [*keys, key("tokens", ARRAY, array(STRING, string("ab") + string("") + string(b"\xff\xc3"), 3))]


def bad_files() -> Iterator[BadFile]:
    """Every file here must be refused."""
    yield from _truncated()
    yield from _bad_preambles()
    yield from _bad_keys()
    yield from _bad_alignments()
    yield from _bad_tensors()


def _truncated() -> Iterator[BadFile]:
    whole = good_file()
    for n in range(len(whole)):
        yield BadFile(f"cut_at_{n}", whole[:n], "left in the file|ends at byte" if n >= 4 else "empty file|starts with")


def _bad_preambles() -> Iterator[BadFile]:
    one = [key("k", U8, b"\1")]
    yield BadFile("magic", build(magic=b"GGML"), r"starts with b'GGML', expected b'GGUF'")
    yield BadFile("zeros", bytes(1000), "not a GGUF file")
    yield BadFile("big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian")
    for version in (0, 1, 4, 2**32 - 1):
        yield BadFile(f"version_{version}", build(version=version), f"version {version}, expected 2 or 3")
    for n in (1, 2, HUGE, MINUS_ONE - 1):
        yield BadFile(f"tensors_{n}", build(n_tensors=n), "tensors?: .* left in the file")
        yield BadFile(
            f"keys_{n + 1}", build(one, n_keys=n + 1), "key.* left in the file|key 1: name of 0 bytes, expected 1 to"
        )


def _bad_keys() -> Iterator[BadFile]:
    for n in (100_000, HUGE, MINUS_ONE):
        yield BadFile(f"string_of_{n}", build([key("k", STRING, string("abc", n))]), "key k: .* left in the file")
        yield BadFile(f"name_of_{n}", build([string("k", n) + bytes(8)]), f"key 0: name of {n} bytes")
        for kind in (U8, F64, BOOL, STRING):
            data = build([key("k", ARRAY, array(kind, bytes(8), n))])
            yield BadFile(f"array_{kind}_of_{n}", data, "key k: .* left in the file")
    texts = array(STRING, string("x") + string("y", HUGE), 2)
    yield BadFile("string_in_array", build([key("k", ARRAY, texts)]), "key k: .* left in the file")
    for kind in (13, 255, 2**32 - 1):
        yield BadFile(f"kind_{kind}", build([key("k", kind, bytes(8))]), f"key k: value type {kind}, expected")
        yield BadFile(f"items_{kind}", build([key("k", ARRAY, array(kind, bytes(8), 1))]), f"value type {kind}")
    nested = array(ARRAY, array(ARRAY, array(U8, b"\1", 1), 1), 1)
    yield BadFile("nested", build([key("k", ARRAY, nested)]), "key k: an array of arrays")
    deep = b"".join(array(ARRAY, b"", 1) for _ in range(20_000))
    yield BadFile("nested_deep", build([key("k", ARRAY, deep)]), "key k: an array of arrays")
    yield BadFile("bool", build([key("k", BOOL, b"\2")]), "key k: bool of value 2, expected 0 or 1")
    yield BadFile("bools", build([key("k", ARRAY, array(BOOL, b"\0\1\xff", 3))]), "key k: bool of value 255")
    yield BadFile("key_twice", build([key("k", U8, b"\1"), key("k", U8, b"\1")]), "key k: stands twice")
    yield BadFile("control", build([key("a\x1b[2J\nb", 99, b"")]), r"key a\\x1b\[2J\\nb: value type 99")


def _bad_alignments() -> Iterator[BadFile]:
    for value in (0, 3, 48, 2**31):
        alignment = key("general.alignment", U32, number(U32, value))
        yield BadFile(f"alignment_{value}", build([alignment]), f"general.alignment: {value}, expected a power of two")
    for kind, payload in ((I32, number(I32, -32)), (U64, number(U64, HUGE))):
        yield BadFile(f"alignment_kind_{kind}", build([key("general.alignment", kind, payload)]), "a power of two")
    for kind, payload in (
        (STRING, string("32")),
        (F32, number(F32, 32)),
        (BOOL, b"\1"),
        (ARRAY, array(U32, bytes(4), 1)),
    ):
        yield BadFile(f"alignment_kind_{kind}", build([key("general.alignment", kind, payload)]), "expected an integer")


def _bad_tensors() -> Iterator[BadFile]:
    def one(name: str, entry: bytes, message: str) -> BadFile:
        return BadFile(name, build([], [entry], bytes(4096)), message)

    for n in (0, 5, 2**32 - 1):
        yield one(f"dims_count_{n}", tensor("t", (1, 1, 1, 1, 1), n_dims=n), f"tensor t: {n} dims, expected 1 to 4")
    dims = [(0,), (4, 0), (MINUS_ONE,), (4, MINUS_ONE), (HUGE,), (2**32, 2**32), (2**16,) * 4, (HUGE, 2), (2**62, 4)]
    for i, d in enumerate([*dims, (2**32 + 1, 2**32 - 1), (2**40 + 1,)]):
        yield one(f"dims_{i}", tensor("t", d), r"tensor t: dims \[.*\], expected")
    yield one("outside", tensor("t", (2**40,)), "tensor t: ends at byte .*, the file at byte")
    yield one("row", tensor("t", (33, 4), 2), "tensor t: rows of 33 elements, expected a multiple of Q4_0's 32")
    yield one("row_k", tensor("t", (32, 8), 14), "tensor t: rows of 32 elements, expected a multiple of Q6_K's 256")
    for offset in (1, 16, 31, MINUS_ONE):
        yield one(f"offset_{offset}", tensor("t", (4,), 0, offset), f"offset {offset}, expected a multiple")
    for offset in (4096, HUGE, 2**64 - 32):
        yield one(f"offset_{offset}", tensor("t", (4,), 0, offset), "tensor t: ends at byte .*, the file at byte")
    for type_id, name in ((24, "I8"), (28, "F64"), (4, "unknown"), (2**32 - 1, "unknown")):
        yield one(f"type_{type_id}", tensor("t", (256,), type_id), rf"tensor t: type {type_id} \({name}\), expected")
    yield one("name", string("t", HUGE) + bytes(40), f"tensor 0: name of {HUGE} bytes")
    pairs = [("twice", [tensor("t", (4,)), tensor("t", (4,), 0, 32)], "tensor t: stands twice")]
    pairs.append(("same_place", [tensor("t", (4,)), tensor("u", (4,))], "tensor u: offset 0 lies inside t, which ends"))
    pairs.append(("overlap", [tensor("u", (4,), 0, 32), tensor("t", (9,))], "tensor u: offset 32 lies inside t"))
    for name, entries, message in pairs:
        yield BadFile(name, build([], entries, bytes(4096)), message)
