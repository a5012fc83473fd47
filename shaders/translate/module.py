"""The declarations of a shader, read from its tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .subset import BEFORE_TYPES, MATRIX, TYPES
from .tokens import Token, closing, refuse, split

Tokens = Sequence[Token]


@dataclass(frozen=True)
class Variable:
    """`type name[sizes] = value`, with sizes and value as they stand."""

    type: str
    name: Token
    sizes: tuple[Tokens, ...] = ()
    value: Tokens = ()


@dataclass(frozen=True)
class Buffer:
    """`elements` is the buffer's only member, an array without an end."""

    binding: int
    elements: Variable
    readonly: bool


@dataclass(frozen=True)
class Constant:
    """A constant, of specialisation where it has a number."""

    variable: Variable
    number: int | None = None


@dataclass(frozen=True)
class Struct:
    name: str
    members: tuple[Variable, ...]


@dataclass(frozen=True)
class Function:
    """`head` is its type and name, `parameters` each with its qualifiers, `body` with its braces."""

    head: Tokens
    parameters: tuple[Tokens, ...]
    body: Tokens

    @property
    def name(self) -> str:
        return self.head[-1].text


@dataclass
class Module:
    """A whole shader. `workgroup` are the tokens of its x extent, or the number of the constant that has it;
    `arguments_name` is what the block of push constants is called, "" where its members are named plainly."""

    workgroup: Tokens | int = ()
    fixed: list[Constant | Struct] = field(default_factory=list)  # in order of appearance
    buffers: list[Buffer] = field(default_factory=list)
    arguments: tuple[Variable, ...] = ()
    arguments_name: str = ""
    shared: list[Variable] = field(default_factory=list)
    private: list[Variable] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    matrices: frozenset[str] = frozenset()  # types of cooperative matrices

    @property
    def structs(self) -> dict[str, Struct]:
        return {s.name: s for s in self.fixed if isinstance(s, Struct)}

    @property
    def types(self) -> frozenset[str]:
        return TYPES | self.matrices | set(self.structs)


def module_of(tokens: Tokens) -> Module:
    matrices = frozenset(t.text for t in tokens if t.text.startswith(f"{MATRIX}<"))
    module, at = Module(matrices=matrices), 0
    while at < len(tokens):
        at = at + 1 if tokens[at].text == ";" else _declaration(module, tokens, at)
    if not module.workgroup and module.workgroup != 0:
        raise refuse(tokens[-1], "a shader without local_size_x")
    return module


def _declaration(module: Module, tokens: Tokens, at: int) -> int:
    """Read the declaration at `at`; returns where the next one begins."""
    layout: dict[str, Tokens] = {}
    if tokens[at].text == "layout":
        end = closing(tokens, at + 1)
        layout, at = _layout(tokens[at + 2 : end]), end + 1
    stop = next((i for i in range(at, len(tokens)) if tokens[i].text in (";", "{", "(", "=")), None)
    if stop is None:
        raise refuse(tokens[at], "a declaration that never ends")
    words = [t.text for t in tokens[at:stop]]
    if words == ["in"]:
        module.workgroup = _workgroup(layout, tokens[at])
        return stop + 1
    if tokens[stop].text == "{":
        return _block(module, tokens, at, stop, layout)
    if tokens[stop].text == "(" and "[" not in words:
        return _function(module, tokens, at, stop)
    return _variables(module, tokens, at, layout)


def _layout(tokens: Tokens) -> dict[str, Tokens]:
    found: dict[str, Tokens] = {part[0].text: part[2:] for part in split(tokens, ",")}
    known = {"std430", "binding", "push_constant", "constant_id", "local_size_x", "local_size_x_id"}
    if unknown := set(found) - known:
        raise refuse(tokens[0], f"layout({min(unknown)})")
    return found


def _workgroup(layout: dict[str, Tokens], token: Token) -> Tokens | int:
    if "local_size_x_id" in layout:
        return _number(layout["local_size_x_id"], token)
    if set(layout) != {"local_size_x"}:
        raise refuse(token, "a workgroup of other axes than x")
    return layout["local_size_x"]


def _number(tokens: Tokens, near: Token) -> int:
    if len(tokens) != 1 or not tokens[0].text.isdecimal():
        raise refuse(near, "a layout whose number is an expression")
    return int(tokens[0].text)


def _block(module: Module, tokens: Tokens, at: int, opens: int, layout: dict[str, Tokens]) -> int:
    """A struct, a buffer or the push constants; braces open at `opens`."""
    closes = closing(tokens, opens)
    members = tuple(v for part in split(tokens[opens + 1 : closes], ";") for v in variables(part))
    words = [t.text for t in tokens[at:opens]]
    end = next(i for i in range(closes, len(tokens)) if tokens[i].text == ";")
    instance = "".join(t.text for t in tokens[closes + 1 : end])
    if words[0] == "struct" and len(words) == 2 and not instance:
        module.fixed.append(Struct(words[1], members))
    elif words[0] == "uniform" and "push_constant" in layout and not module.arguments:
        module.arguments, module.arguments_name = members, instance
    elif words[:-1] in (["buffer"], ["readonly", "buffer"], ["writeonly", "buffer"]) and "binding" in layout:
        module.buffers.append(_buffer(members, layout, words[0] == "readonly", tokens[at], instance))
    else:
        raise refuse(tokens[at], " ".join(words))
    return end + 1


def _buffer(members: tuple[Variable, ...], layout: dict[str, Tokens], readonly: bool, near: Token, name: str) -> Buffer:
    if len(members) != 1 or members[0].sizes != ((),) or name:
        raise refuse(near, "a buffer that is no plain array")
    return Buffer(_number(layout["binding"], near), members[0], readonly)


def _function(module: Module, tokens: Tokens, at: int, opens: int) -> int:
    closes = closing(tokens, opens)
    if tokens[closes + 1].text == ";":  # declared beforehand, which a struct's methods need not be
        return closes + 2
    if tokens[closes + 1].text != "{" or opens - at != 2:
        raise refuse(tokens[at], f"{tokens[at].text} before a function")
    end = closing(tokens, closes + 1)
    parameters = [p for p in split(tokens[opens + 1 : closes], ",") if [t.text for t in p] != ["void"]]
    module.functions.append(Function(tokens[at:opens], tuple(map(tuple, parameters)), tokens[closes + 1 : end + 1]))
    return end + 1


def _variables(module: Module, tokens: Tokens, at: int, layout: dict[str, Tokens]) -> int:
    end = at
    while tokens[end].text != ";":
        end = closing(tokens, end) + 1 if tokens[end].text in ("(", "[", "{") else end + 1
    first, rest = tokens[at].text, tokens[at + 1 : end]
    if first == "shared":
        module.shared += variables(rest)
    elif first == "const":
        number = _number(layout["constant_id"], tokens[at]) if "constant_id" in layout else None
        module.fixed += [Constant(v, number) for v in variables(rest)]
    elif first in module.types and not layout:
        module.private += variables(tokens[at:end])
    else:
        raise refuse(tokens[at], f"{first} before a variable")
    return end + 1


def variables(tokens: Tokens) -> Iterator[Variable]:
    """`type a, b[N][M] = value` as a Variable each."""
    for part in split(tokens[1:], ","):
        sizes: list[Tokens] = []
        at = 1
        while at < len(part) and part[at].text == "[":
            end = closing(part, at)
            sizes.append(tuple(part[at + 1 : end]))
            at = end + 1
        if part[0].kind != "name" or (at < len(part) and part[at].text != "=") or tokens[0].text in BEFORE_TYPES:
            raise refuse(part[0], f"{part[0].text} in a declaration")
        yield Variable(tokens[0].text, part[0], tuple(sizes), tuple(part[at + 1 :]))
