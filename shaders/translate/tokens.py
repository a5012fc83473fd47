"""Preprocessed GLSL as tokens that know where they stand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.errors import BackendError

_TOKEN = re.compile(
    r"(?P<float>\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)"
    r"|(?P<int>0[xX][0-9a-fA-F]+u?|\d+u?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><<=|>>=|<<|>>|\+\+|--|&&|\|\||[-+*/%&|^=!<>]=|[-+*/%&|^=!<>~?:;,.(){}\[\]])"
    r"|(?P<space>\s+)"
)
_LINE = re.compile(r'#line (\d+)(?: "(.*)")?')
_EXTENSION = re.compile(r"#extension (\w+) : \w+")
_CLOSING = {"(": ")", "[": "]", "{": "}"}

# control-flow attributes, and arithmetic among lanes; what matters of an extension is refused where it is used
EXTENSIONS = {
    *("GL_GOOGLE_include_directive", "GL_EXT_control_flow_attributes", "GL_KHR_shader_subgroup_basic"),
    *("GL_KHR_shader_subgroup_arithmetic", "GL_KHR_shader_subgroup_shuffle", "GL_KHR_shader_subgroup_ballot"),
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
    return found


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
