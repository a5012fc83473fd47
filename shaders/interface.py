"""What a shader declares to its host, in its own order: buffers, arguments, specialisation constants, all by name.

Read from what the host compiles: SPIR-V keeps the names for debuggers, the common text in its declarations. So they
come along wherever a shader does, in a wheel too, which needs no GLSL compiler for them.
"""

import functools
import re
import struct
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from ..runtime.errors import BackendError
from ..runtime.ir.tensor import Tensor
from . import spirv_module as spv
from .compile import Defines, spirv, title
from .denormals import CONSTANT_ID as DENORMALS_ID
from .kernel import Argument, KernelCall, KernelCode
from .texts import text
from .translate.subset import glsl_name

WORKGROUP = "local_size_x"  # what a constant without a name is: the invocations of a workgroup
FORMATS = {"uint": "I", "int": "i", "float": "f"}  # of struct


class KernelCallError(BackendError):
    """A call that names what its shader does not declare, or leaves out what it does."""


@dataclass(frozen=True)
class OrderedCall:
    """A call in the order of its shader's declarations. `constants` by constant_id."""

    buffers: tuple[Tensor, ...]
    arguments: tuple[Argument, ...]
    words: struct.Struct
    constants: Mapping[int, int]


@dataclass(frozen=True)
class Interface:
    """`buffers`: the binding of each name, of which one binding has several where a shader sees it as several types.
    `arguments`: in order, with their formats. `constants`: the constant_id of each."""

    shader: str
    buffers: Mapping[str, int]
    arguments: Mapping[str, str]
    constants: Mapping[str, int]

    @cached_property
    def n_buffers(self) -> int:
        return len(set(self.buffers.values()))

    @cached_property
    def words(self) -> struct.Struct:
        return struct.Struct("<" + "".join(self.arguments.values()))

    def order(self, call: KernelCall) -> OrderedCall:
        """KernelCallError names what does not fit. An argument's or constant's order in the call does not matter."""
        self._check("argument", call.arguments, self.arguments)
        bound = {self.buffers.get(name, -1): t for name, t in call.buffers.items()}
        if sorted(bound) != list(range(self.n_buffers)) or len(bound) != len(call.buffers):
            raise KernelCallError(
                f"shader {self.shader}: buffers {', '.join(call.buffers)}, it declares {self._bindings}"
            )
        return OrderedCall(
            tuple(bound[i] for i in range(self.n_buffers)),
            tuple(map(call.arguments.__getitem__, self.arguments)),
            self.words,
            self.numbered(call.constants),
        )

    def numbered(self, constants: Mapping[str, int]) -> dict[int, int]:
        """Specialisation constants by constant_id. KernelCallError as order() raises it."""
        self._check("constant", constants, self.constants)
        return {self.constants[name]: value for name, value in constants.items()}

    def macros(self, constants: Mapping[str, int]) -> str:
        """Specialisation constants as the macros of the common text."""
        return "".join(f"#define VK_SPEC_{i} {c & 0xFFFFFFFF}u\n" for i, c in self.numbered(constants).items())

    def _check(self, what: str, given: Mapping[str, object], declared: Mapping[str, object]) -> None:
        if given.keys() != declared.keys():
            faults = [f"unknown {what} {name}" for name in sorted(given.keys() - declared.keys())]
            faults += [f"no {what} {name}" for name in sorted(declared.keys() - given.keys())]
            raise KernelCallError(f"shader {self.shader}: called with {', '.join(faults)}")

    @property
    def _bindings(self) -> str:
        names = defaultdict(list)
        for name, binding in self.buffers.items():
            names[binding].append(name)
        return ", ".join(" or ".join(names[binding]) for binding in sorted(names))


@functools.cache
def of_spirv(stem: str, defines: Defines = ()) -> Interface:
    """Of a variant's SPIR-V. BackendError when there is none, or it was stripped of its names."""
    return read_spirv(title(stem, defines), spirv(stem, defines))


@functools.cache
def of_text(stem: str, defines: Defines = ()) -> Interface:
    """Of a variant's common text. BackendError when it cannot be had."""
    return read_text(title(stem, defines), text(stem, defines))


_WORKGROUP = re.compile(r"^VK_CONSTANT uint VK_WORKGROUP = uint\((\d+)\);$", re.MULTILINE)


def n_threads(code: KernelCode) -> int:
    """Of a workgroup. BackendError when the text does not say."""
    if (given := dict(code.constants).get(WORKGROUP)) is not None:
        return given
    if (fixed := _WORKGROUP.search(text(code.stem, code.defines))) is None:
        raise BackendError(f"shader {code.title}: its workgroup is neither a number nor a constant")
    return int(fixed[1])


_CONSTANT = re.compile(r"^VK_CONSTANT uint (\w+) = VK_SPEC_(\d+);$", re.MULTILINE)
_BUFFER = re.compile(r"^VK_(?:ENTRY_BUFFER|BIND_VIEW)\((\d+), [\w ]+, (\w+)", re.MULTILINE)
_ARGUMENTS = re.compile(r"^struct vk_Arguments \{ (.*) \};$", re.MULTILINE)


def read_text(shader: str, source: str) -> Interface:
    """As shaders/translate/emit.py writes it."""
    found = _ARGUMENTS.search(source)
    members = [member.split() for member in found[1].split(";") if member.strip()] if found else []
    return Interface(
        shader,
        {glsl_name(name): int(binding) for binding, name in _BUFFER.findall(source)},
        {glsl_name(name): FORMATS[kind] for kind, name in members},
        {WORKGROUP if n == "VK_WORKGROUP" else glsl_name(n): int(number) for n, number in _CONSTANT.findall(source)},
    )


def read_spirv(shader: str, module: bytes) -> Interface:
    names: dict[int, str] = {}
    members: dict[tuple[int, int], str] = {}
    types: dict[int, tuple[int, ...]] = {}
    decorated: dict[int, dict[int, int]] = {spv.SPEC_ID: {}, spv.BINDING: {}}
    variables: dict[int, tuple[int, int]] = {}  # type, storage class
    for op, c in takewhile(lambda instruction: instruction[0] != spv.FUNCTION, spv.instructions(module)):
        if op == spv.NAME:
            names[c[0]] = spv.string(c[1:])
        elif op == spv.MEMBER_NAME:
            members[c[0], c[1]] = spv.string(c[2:])
        elif op == spv.DECORATE and c[1] in decorated:
            decorated[c[1]][c[0]] = c[2]
        elif op in (spv.TYPE_INT, spv.TYPE_FLOAT, spv.TYPE_STRUCT, spv.TYPE_POINTER):
            types[c[0]] = op, *c[1:]
        elif op == spv.VARIABLE:
            variables[c[1]] = c[0], c[2]
    blocks = [types[kind][2] for kind, where in variables.values() if where == spv.PUSH_CONSTANT]
    buffers = {members.get((types[variables[v][0]][2], 0)): b for v, b in decorated[spv.BINDING].items()}
    arguments = {members.get((b, i)): _format(types[m]) for b in blocks for i, m in enumerate(types[b][1:])}
    if None in buffers or None in arguments:
        raise BackendError(f"shader {shader}: its SPIR-V has no names, which vkrun goes by; compile it without -g0")
    numbers = {v: number for v, number in decorated[spv.SPEC_ID].items() if number != DENORMALS_ID}  # the device's
    constants = {names.get(v) or WORKGROUP: number for v, number in numbers.items()}
    return Interface(shader, buffers, arguments, constants)  # type: ignore[arg-type]


def _format(kind: tuple[int, ...]) -> str:
    """Of a scalar type: OpTypeFloat with its width, OpTypeInt with width and sign."""
    return "f" if kind[0] == spv.TYPE_FLOAT else "i" if kind[2] else "I"
