"""Bodies of functions, and expressions: checked word by word, and rewritten where C++ differs.

Elements of buffers and of shared memory are read and written through macros, so that a prelude may look at each access:

    VK_LOAD(x, i)  VK_STORE(x, i)  VK_CHANGE(x, i)    an element that is read, written, or both
    VK_LOAD_PART(x, i, k) ...                         component k of an element that is a vector
    VK_ATOMIC(x, i)                                   the element that an atomic function takes
    VK_MATRIX_LOAD(m, x, i, pitch, order) ...         a matrix from shared memory, or to it, its rows `pitch` apart
    VK_MATRIX_LOAD_BUFFER(m, x, i, pitch, order) ...  the same of a buffer
    VK_WARPGROUP_MUL_ADD(sums, i, n, x, a, b, adds)   products of lines in shared memory onto n matrices from sums[i] on
    VK_COPY_ASYNC(x, i, y, j)                         an element of a buffer y on its way to shared memory
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from .module import Function, Module, variables
from .subset import (
    ARRAYS_GIVEN,
    ASSIGNING,
    ATOMICS,
    ATTRIBUTES,
    BEFORE_TYPES,
    BUILT_IN,
    COMPONENTS,
    FUNCTIONS,
    LENGTH,
    MATRIX_ACCESS,
    STATEMENTS,
    SWIZZLES,
    c_name,
)
from .tokens import Token, closing, refuse, split

Tokens = Sequence[Token]
Words = list[str]
INT_MAX = 0x7FFFFFFF


class Writer:
    """Writes C for tokens that stand in a module, whose names it knows; `scopes` are those of a function."""

    def __init__(self, module: Module) -> None:
        self.types = module.types
        self.fields = {v.name.text for s in module.structs.values() for v in s.members}
        self.functions = FUNCTIONS | {f.name for f in module.functions}
        self.buffers = {b.elements.name.text for b in module.buffers}
        self.elements = self.buffers | {v.name.text for v in module.shared}
        self.scalars = {v.name.text for v in module.shared if not v.sizes}
        self.arguments = module.arguments_name
        self.scopes: list[set[str]] = []

    def expression(self, tokens: Tokens) -> str:
        """An expression outside of any function."""
        return join(self._words(tokens))

    def function(self, function: Function) -> str:
        """A function of the kernel, as a method."""
        self.scopes = [set()]
        parameters = ", ".join(self._parameter(p) for p in function.parameters)
        head = f"VK_FN {self._type(function.head[0])} {c_name(function.name)}({parameters})"
        body = join(self._words(function.body), function.body)
        self.scopes = []
        return f"{head} {body}"

    def _parameter(self, tokens: Tokens) -> str:
        """By value; arrays by reference, since C has no other way, and what the function gives back too."""
        words = [t.text for t in tokens]
        gives = words[0] in ("out", "inout")
        skip = 1 if gives or words[0] in ("in", "const") else 0
        (v,) = variables(tokens[skip:])
        self.scopes[-1].add(v.name.text)
        kind, name = self._type(tokens[skip]), c_name(v.name.text)
        if v.sizes:
            sizes = "".join(f"[{self.expression(size)}]" for size in v.sizes)
            return f"{'' if gives else 'const '}VK_PRIVATE {kind} VK_REFERENCE({name}){sizes}"
        return f"VK_PRIVATE {kind} &{name}" if gives else f"{kind} {name}"

    def _type(self, token: Token) -> str:
        if token.text not in self.types | {"void"}:
            raise refuse(token, f"type {token.text}")
        return token.text

    def _words(self, tokens: Tokens) -> Words:
        """A word a token as far as possible: what takes several in one goes into the first, and the others are ""."""
        words: Words = [""] * len(tokens)
        at = 0
        while at < len(tokens):
            self._note_scope(tokens, at)
            words[at], at = self._word(tokens, at)
        return words

    def _word(self, tokens: Tokens, at: int) -> tuple[str, int]:
        """What is written for the token at `at`, and where to go on."""
        token = tokens[at]
        if token.kind in ("float", "int"):
            return self._number(tokens, at), at + 1
        if token.kind == "name":
            return self._name(tokens, at)
        if token.text == "[" and _text(tokens, at + 1) == "[":
            return self._attribute(tokens, at)
        if token.text == ".":
            return self._member(tokens, at)
        return token.text, at + 1

    def _number(self, tokens: Tokens, at: int) -> str:
        token = tokens[at]
        if at + 1 < len(tokens) and tokens[at + 1].kind == "name":
            raise refuse(token, f"{token.text} before {tokens[at + 1].text}")
        if token.kind == "float":
            return token.text + "f"
        if not token.text.endswith("u") and int(token.text, 0) > INT_MAX:
            raise refuse(token, f"{token.text}, which no int holds")
        return token.text

    def _name(self, tokens: Tokens, at: int) -> tuple[str, int]:
        token = tokens[at]
        name = token.text
        if name == "gl_WorkGroupSize":
            if [_text(tokens, at + 1), _text(tokens, at + 2)] != [".", "x"]:
                raise refuse(token, "gl_WorkGroupSize without .x")
            return "VK_WORKGROUP", at + 3
        if (name.startswith("gl_") and name not in BUILT_IN) or name.lower().startswith("vk_"):
            raise refuse(token, name)
        if name in MATRIX_ACCESS:
            return self._matrix_access(tokens, at)
        if name in ARRAYS_GIVEN:
            return self._arrays_given(tokens, at)
        if self._is_element(tokens, at):
            return self._element(tokens, at)
        self._check_place(tokens, at)
        return {"precise": "VK_PRECISE"}.get(name, c_name(name)), at + 1

    def _check_place(self, tokens: Tokens, at: int) -> None:
        """A name before a bracket must be a function's, one before another name a type's or a statement's."""
        name, after = tokens[at].text, tokens[at + 1] if at + 1 < len(tokens) else None
        if after is None or name in STATEMENTS:
            return
        if after.text == "(" and name not in self.functions | self.types and not self._declares(tokens, at):
            raise refuse(tokens[at], f"{name}()")
        if after.text == "[" and name in self.types:
            raise refuse(tokens[at], f"{name}[], an array as a value")
        if after.kind in ("name", "int", "float") and name not in self.types | BEFORE_TYPES:
            raise refuse(tokens[at], f"{name} before {after.text}")

    def _declares(self, tokens: Tokens, at: int) -> bool:
        return at > 0 and tokens[at - 1].text in self.types

    def _attribute(self, tokens: Tokens, at: int) -> tuple[str, int]:
        name = _text(tokens, at + 2)
        if name not in ATTRIBUTES or [_text(tokens, at + 3), _text(tokens, at + 4)] != ["]", "]"]:
            raise refuse(tokens[at], f"[[{name}]]")
        return ATTRIBUTES[name], at + 5

    def _member(self, tokens: Tokens, at: int) -> tuple[str, int]:
        name, before = tokens[at + 1].text, tokens[at - 1].text if at else ""
        if name in SWIZZLES:
            if _text(tokens, at + 2) == "=" or _text(tokens, at + 2) in ASSIGNING:
                raise refuse(tokens[at + 1], f".{name} that is written")
            return f".VK_SWIZZLE({name})", at + 2
        is_component = name in COMPONENTS and len(name) == 1
        if not is_component and name not in self.fields | {LENGTH} and before != self.arguments:
            raise refuse(tokens[at + 1], f".{name}")
        return f".{c_name(name)}", at + 2

    def _is_element(self, tokens: Tokens, at: int) -> bool:
        name = tokens[at].text
        hidden = any(name in scope for scope in self.scopes)
        return name in self.elements and not hidden and _text(tokens, at - 1) != "."

    def _element(self, tokens: Tokens, at: int) -> tuple[str, int]:
        """An access to a buffer or to shared memory, whole or of a component."""
        name, index, end = tokens[at].text, "0u", at + 1
        if name not in self.scalars:
            index, end = self._index(tokens, end, name)
        part, end = self._part(tokens, end)
        verb = self._verb(tokens, at, end)
        arguments = ", ".join((c_name(name), index, *part))
        return f"VK_{verb}{'_PART' if part else ''}({arguments})", end

    def _matrix_access(self, tokens: Tokens, at: int) -> tuple[str, int]:
        """Matrices go between registers and arrays in shared memory or buffers."""
        end = closing(tokens, at + 1)
        parts = split(tokens[at + 2 : end], ",")
        place = parts[1][0].text if len(parts) == 5 and self._is_array(parts[1]) else ""
        if not place:
            raise refuse(tokens[at], f"{tokens[at].text} of another than an array")
        matrix, index, pitch, order = (join(self._words(parts[i])) for i in (0, 2, 3, 4))
        verb = MATRIX_ACCESS[tokens[at].text] + ("_BUFFER" if place in self.buffers else "")
        return f"{verb}(({matrix}), {c_name(place)}, {index}, {pitch}, {order})", end + 1

    def _arrays_given(self, tokens: Tokens, at: int) -> tuple[str, int]:
        """A call of which some arguments are arrays, by their names."""
        verb, n, arrays = ARRAYS_GIVEN[tokens[at].text]
        end = closing(tokens, at + 1)
        parts = split(tokens[at + 2 : end], ",")
        if len(parts) != n or not all(self._is_array(parts[i]) for i in arrays):
            raise refuse(tokens[at], f"{tokens[at].text} of another than an array")
        words = [c_name(p[0].text) if i in arrays else join(self._words(p)) for i, p in enumerate(parts)]
        return f"{verb}({', '.join(words)})", end + 1

    def _is_array(self, part: Tokens) -> bool:
        return len(part) == 1 and self._is_element(part, 0) and part[0].text not in self.scalars

    def _index(self, tokens: Tokens, at: int, name: str) -> tuple[str, int]:
        if _text(tokens, at) != "[":
            raise refuse(tokens[at - 1], f"{name} without an index")
        end = closing(tokens, at)
        return join(self._words(tokens[at + 1 : end])), end + 1

    def _part(self, tokens: Tokens, at: int) -> tuple[tuple[str, ...], int]:
        if _text(tokens, at) == "[":
            index, end = self._index(tokens, at, "")
            return (index,), end
        if _text(tokens, at) == "." and len(_text(tokens, at + 1)) == 1 and _text(tokens, at + 1) in COMPONENTS:
            return (f"{COMPONENTS.index(tokens[at + 1].text)}u",), at + 2
        return (), at

    def _verb(self, tokens: Tokens, at: int, end: int) -> str:
        before, after = _text(tokens, at - 1), _text(tokens, end)
        if before in ("++", "--"):
            raise refuse(tokens[at], f"{before} before an element")
        if before == "(" and _text(tokens, at - 2) in ATOMICS:
            return "ATOMIC"
        return "STORE" if after == "=" else "CHANGE" if after in ASSIGNING else "LOAD"

    def _note_scope(self, tokens: Tokens, at: int) -> None:
        """Names that are declared here hide those of the module until their braces close."""
        text = tokens[at].text
        if not self.scopes:
            return
        if text == "{":
            self.scopes.append(set())
        elif text == "}":
            self.scopes.pop()
        elif text in self.types and at + 1 < len(tokens) and tokens[at + 1].kind == "name":
            end = next((i for i in range(at, len(tokens)) if tokens[i].text in (";", "{")), len(tokens))
            self.scopes[-1] |= set(_declared(tokens[at:end]))


def _declared(tokens: Tokens) -> Iterable[str]:
    """The names of `type a = ..., b[N]`, whatever stands between."""
    depth = 0
    for before, token in pairwise(tokens):
        depth += (before.text in "([{") - (before.text in ")]}")
        if depth < 0:
            return
        if not depth and token.kind == "name" and (before is tokens[0] or before.text == ","):
            yield token.text


def _text(tokens: Tokens, at: int) -> str:
    return tokens[at].text if 0 <= at < len(tokens) else ""


def join(words: Iterable[str], tokens: Tokens = ()) -> str:
    """Words as a line; with the tokens that they are of, as lines that tell where they stand in the source."""
    text, depth, place = "", 0, ("", 0)
    for i, word in enumerate(words):
        if tokens and word and not depth and (text[-1:] in ";{}\n" or not text):
            here = tokens[i].file, tokens[i].line
            text += _line(here, place)
            place = here
        depth += (word == "(") - (word == ")")
        text += " " + word if text and word and _sticks(text[-1], word[0]) else word
    return text


def _line(here: tuple[str, int], before: tuple[str, int]) -> str:
    if here == before:
        return ""
    name = f' "{here[0]}"' if here[0] != before[0] else ""
    return f"\n#line {here[1]}{name}\n"


def _sticks(a: str, b: str) -> bool:
    """Whether two words would run into each other: names, or signs such as - -."""
    return ((a.isalnum() or a == "_") and (b.isalnum() or b == "_")) or (a == b and a in "+-&|<>")
