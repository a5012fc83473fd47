"""SPIR-V whose storage buffers are at pushed addresses, made of SPIR-V that has them bound.

A device then loads no descriptors and compares no index with a buffer's size: docs/performance.md says what that saves.
The addresses follow a shader's arguments, in the order of bindings. What it is made of is as glslang writes shaders/:
access chains alone reach into buffers, right from their variables. See the extension SPV_KHR_physical_storage_buffer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from . import spirv_module as spv
from .interface import Interface
from .spirv_module import Instruction

ADDRESS_NBYTES = 8
EXTENSION, CAPABILITY, ADDRESSING_64 = "SPV_KHR_physical_storage_buffer", 5347, 5348
ALIGNED = 0x2  # of memory operands
CHAINS = (spv.ACCESS_CHAIN, spv.IN_BOUNDS_ACCESS_CHAIN)
TYPES = range(19, 34)  # the opcodes of types, of which the first ends a module's decorations
LINES = (8, 317)
BEFORE_CODE = (*LINES, spv.FUNCTION, spv.FUNCTION_PARAMETER, spv.LABEL, spv.VARIABLE)  # of a function


def addresses_at(n_arguments: int) -> int:
    """Where the first address stands among the bytes that are pushed, behind so many arguments."""
    return -(-4 * n_arguments // ADDRESS_NBYTES) * ADDRESS_NBYTES


def pushed_nbytes(interface: Interface) -> int:
    """Of a shader's arguments and the addresses of its buffers."""
    return addresses_at(len(interface.arguments)) + ADDRESS_NBYTES * interface.n_buffers


def by_addresses(module: bytes) -> bytes:
    """The module as described above; as it was where it has no buffers."""
    listed, ids = list(spv.instructions(module)), count(spv.bound_of(module))
    first = next(i for i, (op, _) in enumerate(listed) if op == spv.FUNCTION)
    declared = _Declared.by(listed[:first])
    if not declared.buffers:
        return module
    block = _Block(declared, ids)
    made = [*_head(listed[:first], declared, block), *block.declarations]
    for function in _functions(listed[first:]):
        made += _function(function, declared, block)
    return spv.assembled(module, spv.with_extension(made, CAPABILITY, EXTENSION), next(ids))


@dataclass
class _Declared:
    """What a module declares, by id."""

    pointers: dict[int, tuple[int, int]] = field(default_factory=dict)  # types: storage class, what they point to
    numbers: dict[int, Instruction] = field(default_factory=dict)  # types of scalars and vectors
    structs: dict[int, tuple[int, ...]] = field(default_factory=dict)  # types: those of their members
    buffers: dict[int, int] = field(default_factory=dict)  # variables: their types
    bindings: dict[int, int] = field(default_factory=dict)  # of variables
    pushed: tuple[int, int] | None = None  # the arguments' variable and its type

    @staticmethod
    def by(heads: Iterable[Instruction]) -> "_Declared":
        made = _Declared()
        for op, c in heads:
            if op == spv.TYPE_POINTER:
                made.pointers[c[0]] = c[1], c[2]
            elif op in (spv.TYPE_INT, spv.TYPE_FLOAT, spv.TYPE_VECTOR):
                made.numbers[c[0]] = op, c
            elif op == spv.TYPE_STRUCT:
                made.structs[c[0]] = c[1:]
            elif op == spv.DECORATE and c[1] == spv.BINDING:
                made.bindings[c[0]] = c[2]
            elif op == spv.VARIABLE and c[2] == spv.STORAGE_BUFFER:
                made.buffers[c[1]] = c[0]
            elif op == spv.VARIABLE and c[2] == spv.PUSH_CONSTANT:
                made.pushed = c[1], c[0]
        return made

    def alignment(self, kind: int) -> int:
        """Bytes that what a pointer into a buffer points to is aligned to: numbers, by std430."""
        op, c = self.numbers[kind]
        if op == spv.TYPE_VECTOR:
            return self.alignment(c[1]) * (4 if c[2] == 3 else c[2])
        return c[1] // 8

    def chains(self, op: int, c: Sequence[int]) -> bool:
        """Whether an instruction makes a pointer into a buffer."""
        return op in CHAINS and self.pointers[c[0]][0] == spv.STORAGE_BUFFER


class _Block:
    """The block that is pushed: the arguments and, a member for each binding, the addresses. Declared anew behind all
    other declarations, since its members point to types that may be declared behind the arguments."""

    def __init__(self, declared: _Declared, ids: Iterator[int]) -> None:
        self._declared, self._ids = declared, ids
        self._variable, pointer = declared.pushed or (next(ids), next(ids))
        kind = declared.pointers[pointer][1] if declared.pushed else next(ids)
        arguments = declared.structs.get(kind, ())
        self.replaced = {self._variable, pointer, kind}
        self.decorations: list[Instruction] = [] if arguments else [(spv.DECORATE, (kind, spv.BLOCK))]
        self.declarations: list[Instruction] = []
        self._members: dict[int, tuple[int, int, int]] = {}  # by binding: its type, its number, what points to it
        self._add_members(kind, len(arguments))
        members = [kind for kind, _, _ in self._members.values()]
        self.declarations += [
            (spv.TYPE_STRUCT, (kind, *arguments, *members)),
            (spv.TYPE_POINTER, (pointer, spv.PUSH_CONSTANT, kind)),
            (spv.VARIABLE, (pointer, self._variable, spv.PUSH_CONSTANT)),
        ]

    def _add_members(self, block: int, n_arguments: int) -> None:
        declared, first = self._declared, addresses_at(n_arguments)
        integer = next(c[0] for op, c in declared.numbers.values() if op == spv.TYPE_INT and c[1] == 32)
        kinds = {declared.bindings[v]: kind for v, kind in declared.buffers.items()}
        for n, (binding, kind) in enumerate(sorted(kinds.items()), n_arguments):
            number, pointer = next(self._ids), next(self._ids)
            at = first + ADDRESS_NBYTES * binding
            self.decorations.append((spv.MEMBER_DECORATE, (block, n, spv.OFFSET, at)))
            self.declarations.append((spv.CONSTANT, (integer, number, n)))
            self.declarations.append((spv.TYPE_POINTER, (pointer, spv.PUSH_CONSTANT, kind)))
            self._members[binding] = kind, number, pointer

    def loaded(self, buffers: Iterable[int]) -> tuple[dict[int, int], list[Instruction]]:
        """Addresses in the place of buffers, and the code that loads them."""
        bases, code = {}, list[Instruction]()
        for buffer in buffers:
            kind, number, pointer = self._members[self._declared.bindings[buffer]]
            wanted, at, loaded = self._declared.buffers[buffer], next(self._ids), next(self._ids)
            code.append((spv.ACCESS_CHAIN, (pointer, at, self._variable, number)))
            code.append((spv.LOAD, (kind, loaded, at)))
            if wanted != kind:  # of what a shader sees as several types
                loaded, of = next(self._ids), loaded
                code.append((spv.BITCAST, (wanted, loaded, of)))
            bases[buffer] = loaded
        return bases, code


def _head(heads: Iterable[Instruction], declared: _Declared, block: _Block) -> Iterator[Instruction]:
    """What stands before functions: without what is bound, and without what the block declares."""
    decorations = iter(block.decorations)
    for op, c in heads:
        if op in TYPES:
            yield from decorations  # none but for the first
        if op in (spv.NAME, spv.DECORATE) and c[0] in declared.buffers:
            continue
        if op in (spv.TYPE_STRUCT, spv.TYPE_POINTER) and c[0] in block.replaced:
            continue
        if op == spv.VARIABLE and (c[1] in block.replaced or c[1] in declared.buffers):
            continue
        if op == spv.MEMORY_MODEL:
            c = ADDRESSING_64, c[1]
        elif op == spv.TYPE_POINTER and c[1] == spv.STORAGE_BUFFER:
            c = c[0], spv.PHYSICAL_STORAGE_BUFFER, c[2]
        yield op, c


def _function(function: Sequence[Instruction], declared: _Declared, block: _Block) -> Iterator[Instruction]:
    used = dict.fromkeys(c[2] for op, c in function if op in CHAINS and c[2] in declared.buffers)
    bases, code = block.loaded(used)
    alignments: dict[int, int] = {}  # of what pointers into buffers point to
    begins = next(i for i, (op, _) in enumerate(function) if op not in BEFORE_CODE)
    yield from function[:begins]
    yield from code
    for op, c in function[begins:]:
        if declared.chains(op, c):
            alignments[c[1]] = declared.alignment(declared.pointers[c[0]][1])
            c = *c[:2], bases.get(c[2], c[2]), *c[3:]
        yield op, _aligned(op, c, alignments)


def _aligned(op: int, c: tuple[int, ...], alignments: Mapping[int, int]) -> tuple[int, ...]:
    """Operands of a load or store through an address with its alignment, which stands right behind the mask."""
    at = {spv.LOAD: 2, spv.STORE: 0}.get(op)
    if at is None or c[at] not in alignments:
        return c
    before, rest = (c[:3], c[3:]) if op == spv.LOAD else (c[:2], c[2:])
    mask = rest[0] if rest else 0
    return *before, mask | ALIGNED, alignments[c[at]], *rest[1:]


def _functions(bodies: Sequence[Instruction]) -> Iterator[Sequence[Instruction]]:
    starts = [i for i, (op, _) in enumerate(bodies) if op == spv.FUNCTION]
    for start, end in zip(starts, [*starts[1:], len(bodies)], strict=True):
        yield bodies[start:end]
