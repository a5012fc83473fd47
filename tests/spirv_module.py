"""What a SPIR-V module declares towards its host."""

from dataclasses import dataclass

import numpy as np

_DECORATE, _SPEC_ID, _BINDING = 71, 1, 33
_SCALARS, _VECTOR, _STRUCT, _POINTER, _VARIABLE = (21, 22), 23, 30, 32, 59
_PUSH_CONSTANT = 9


@dataclass(frozen=True)
class Interface:
    """Bindings, ids of specialisation constants, and the 32-bit words of the push constant block."""

    bindings: frozenset[int]
    constants: frozenset[int]
    n_words: int


def interface_of(words: bytes) -> Interface:
    code = [list(c) for c in _instructions(np.frombuffer(words, "<u4"))]
    decorations = {kind: {c[3] for c in code if c[0] == _DECORATE and c[2] == kind} for kind in (_SPEC_ID, _BINDING)}
    types = {c[1]: c for c in code if c[0] in (*_SCALARS, _VECTOR, _STRUCT, _POINTER)}
    pushed = [types[c[1]][3] for c in code if c[0] == _VARIABLE and c[3] == _PUSH_CONSTANT]
    n_words = sum(_n_words(types, member) for struct in pushed for member in types[struct][2:])
    return Interface(frozenset(decorations[_BINDING]), frozenset(decorations[_SPEC_ID]), n_words)


def _instructions(words: np.ndarray):
    """Opcode and operands of each instruction, after the header of five words."""
    at = 5
    while at < len(words):
        n = int(words[at]) >> 16
        yield int(words[at]) & 0xFFFF, *map(int, words[at + 1 : at + n])
        at += n


def _n_words(types: dict[int, list[int]], of: int) -> int:
    return types[of][3] if types[of][0] == _VECTOR else 1
