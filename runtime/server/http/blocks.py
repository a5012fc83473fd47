"""An answer as blocks, one after another, as Anthropic's messages and OpenAI's responses have it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...text.answers.deltas import Arguments, Call, Content, Delta

Kind = Literal["text", "thinking", "call"]
Change = tuple[Literal["open", "more", "close"], "Block", str]


@dataclass
class Block:
    """text: what it says, of a call its arguments. id, name: of a call."""

    index: int
    kind: Kind
    id: str = ""
    name: str = ""
    text: str = ""


@dataclass
class Blocks:
    made: list[Block] = field(default_factory=list)
    _is_open: bool = False

    def feed(self, deltas: Sequence[Delta]) -> Iterator[Change]:
        for delta in deltas:
            kind = _kind(delta)
            if isinstance(delta, Call) or not self._is_open or self.made[-1].kind != kind:
                yield from self.close()
                yield "open", self._new(kind, delta), ""
            if not isinstance(delta, Call):
                self.made[-1].text += delta.text
                yield "more", self.made[-1], delta.text

    def close(self) -> Iterator[Change]:
        if self._is_open:
            self._is_open = False
            yield "close", self.made[-1], ""

    def _new(self, kind: Kind, delta: Delta) -> Block:
        block = Block(len(self.made), kind)
        if isinstance(delta, Call):
            block.id, block.name = delta.id, delta.name
        self.made.append(block)
        self._is_open = True
        return block

    @property
    def has_calls(self) -> bool:
        return any(block.kind == "call" for block in self.made)


def _kind(delta: Delta) -> Kind:
    if isinstance(delta, Call | Arguments):
        return "call"
    return "text" if isinstance(delta, Content) else "thinking"
