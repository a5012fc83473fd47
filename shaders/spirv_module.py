"""A SPIR-V module as its instructions, and back. Numbers are those of the SPIR-V specification."""

import struct
from collections.abc import Iterable, Iterator

Instruction = tuple[int, tuple[int, ...]]  # opcode, operands

NAME, MEMBER_NAME, EXTENSION, MEMORY_MODEL, ENTRY_POINT, EXECUTION_MODE, CAPABILITY = 5, 6, 10, 14, 15, 16, 17
TYPE_INT, TYPE_FLOAT, TYPE_VECTOR, TYPE_STRUCT, TYPE_POINTER = 21, 22, 23, 30, 32
CONSTANT, FUNCTION, FUNCTION_PARAMETER, VARIABLE, LOAD, STORE = 43, 54, 55, 59, 61, 62
ACCESS_CHAIN, IN_BOUNDS_ACCESS_CHAIN, DECORATE, MEMBER_DECORATE, BITCAST, LABEL = 65, 66, 71, 72, 124, 248
SPEC_ID, BLOCK, BINDING, OFFSET = 1, 2, 33, 35  # decorations
PUSH_CONSTANT, STORAGE_BUFFER, PHYSICAL_STORAGE_BUFFER = 9, 12, 5349  # storage classes

_HEADER = struct.Struct("<5I")
_BOUND = 3  # the header's word with what is above every id


def bound_of(module: bytes) -> int:
    return _HEADER.unpack_from(module)[_BOUND]


def instructions(module: bytes) -> Iterator[Instruction]:
    words = struct.unpack(f"<{len(module) // 4}I", module)
    at = _HEADER.size // 4
    while at < len(words):
        n = words[at] >> 16
        yield words[at] & 0xFFFF, words[at + 1 : at + n]
        at += n


def assembled(module: bytes, made: Iterable[Instruction], bound: int) -> bytes:
    """A module of other instructions with the header of this one."""
    header = list(_HEADER.unpack_from(module))
    header[_BOUND] = bound
    words = [word for op, operands in made for word in (len(operands) + 1 << 16 | op, *operands)]
    return struct.pack(f"<{len(header) + len(words)}I", *header, *words)


def with_extension(made: Iterable[Instruction], capability: int, extension: str) -> Iterator[Instruction]:
    """And what the instructions then may use."""
    data = extension.encode() + b"\0"
    name = struct.unpack(f"<{-(-len(data) // 4)}I", data + bytes(-len(data) % 4))
    named = False
    for op, c in made:
        if op != CAPABILITY and not named:
            yield from ((CAPABILITY, (capability,)), (EXTENSION, name))
            named = True
        yield op, c


def string(words: tuple[int, ...]) -> str:
    return struct.pack(f"<{len(words)}I", *words).rstrip(b"\0").decode()
