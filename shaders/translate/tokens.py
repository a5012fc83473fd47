"""Preprocessed GLSL as tokens that know where they stand."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...runtime.errors import BackendError
from .subset import MATRIX, MATRIX_ELEMENTS, MATRIX_USES

_TOKEN = re.compile(
    r"(?P<float>\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)"
    r"|(?P<int>0[xX][0-9a-fA-F]+u?|\d+u?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><<=|>>=|<<|>>|\+\+|--|&&|\|\||[-+*/%&|^=!<>]=|[-+*/%&|^=!<>~?:;,.(){}\[\]])"
    r"|(?P<space>\s+)"
)
_LINE = re.compile(r'#line (\d+)(?: "(.*)")?')
_EXTENSION = re.compile(r"#extension (\w+) : \w+")
_MATRIX_SIGNS = [MATRIX, "<", *["", ","] * 4, "", ">"]
_CLOSING = {"(": ")", "[": "]", "{": "}"}

# control-flow attributes, and arithmetic among lanes; what matters of an extension is refused where it is used
EXTENSIONS = {
    *("GL_GOOGLE_include_directive", "GL_EXT_control_flow_attributes", "GL_KHR_shader_subgroup_basic"),
    *("GL_KHR_shader_subgroup_arithmetic", "GL_KHR_shader_subgroup_shuffle", "GL_KHR_shader_subgroup_ballot"),
    *("GL_KHR_cooperative_matrix", "GL_KHR_memory_scope_semantics"),
    "GL_EXT_shader_explicit_arithmetic_types_float16",
}


class OutsideSubsetError(BackendError):
    """GLSL that the translation does not know: names file and line."""


@dataclass(frozen=True)
class Token:
    """A word of the source; `kind` is "float", "int", "name" or "sign"."""

    kind: str
    text: str
    file: str
    line: int


def refuse(token: Token, why: str) -> OutsideSubsetError:
    return OutsideSubsetError(f"{token.file}:{token.line}: {why}: outside of what shaders/translate knows")


def tokens_of(text: str, file: str) -> list[Token]:
    """The tokens of what `glslangValidator -E` left of a file; its #line directives say where each comes from."""
    found: list[Token] = []
    line = 0
    for row in text.splitlines():
        line += 1
        if match := _LINE.match(row):
            line, file = int(match[1]) - 1, match[2] or file
        elif row.startswith("#"):
            _check_directive(row, file, line)
        else:
            found += _tokens_of_line(row, file, line)
    return list(_with_matrices(found))


def _with_matrices(tokens: Sequence[Token]) -> Iterator[Token]:
    """With `coopmat<...>` as one name, less its scope."""
    at = 0
    while at < len(tokens):
        end = at + len(_MATRIX_SIGNS) if tokens[at].text == MATRIX else at + 1
        yield _matrix(tokens[at:end]) if tokens[at].text == MATRIX else tokens[at]
        at = end


def _matrix(tokens: Sequence[Token]) -> Token:
    words = [t.text for t in tokens]
    signs = [word if sign else "" for word, sign in zip(words, _MATRIX_SIGNS, strict=False)]
    if signs != _MATRIX_SIGNS or words[4] != "gl_ScopeSubgroup":
        raise refuse(
            tokens[0], f"{''.join(words)}, another than {MATRIX}<element, gl_ScopeSubgroup, rows, columns, use>"
        )
    if words[2] not in MATRIX_ELEMENTS or words[10] not in MATRIX_USES:
        raise refuse(tokens[0], f"{MATRIX} of {words[2]} as {words[10]}")
    return Token("name", f"{MATRIX}<{', '.join((words[2], *words[6:11:2]))}>", tokens[0].file, tokens[0].line)


def _check_directive(row: str, file: str, line: int) -> None:
    extension = _EXTENSION.match(row)
    if not row.startswith("#version 450") and (extension is None or extension[1] not in EXTENSIONS):
        raise refuse(Token("sign", row, file, line), row.strip())


def _tokens_of_line(row: str, file: str, line: int) -> list[Token]:
    found, at = [], 0
    while at < len(row):
        match = _TOKEN.match(row, at)
        if match is None or match.lastgroup is None:
            raise refuse(Token("sign", row[at], file, line), repr(row[at]))
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], file, line))
        at = match.end()
    return found


def closing(tokens: Sequence[Token], at: int) -> int:
    """Where the bracket that opens at `at` closes."""
    opens, closes, depth = tokens[at].text, _CLOSING[tokens[at].text], 0
    for i in range(at, len(tokens)):
        depth += (tokens[i].text == opens) - (tokens[i].text == closes)
        if not depth:
            return i
    raise refuse(tokens[at], f"{opens} that never closes")


def split(tokens: Sequence[Token], sign: str) -> list[list[Token]]:
    """The runs between the signs that stand in no brackets; an empty last one is left out."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in _CLOSING) - (token.text in _CLOSING.values())
        if token.text == sign and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts if parts[-1] else parts[:-1]
