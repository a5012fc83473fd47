"""What an answer consists of, as it comes: pieces of content, of reasoning and of calls of tools."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call begins: of tool `name`, the index-th of this answer; its Arguments follow."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class Arguments:
    """A piece of a call's arguments; the pieces joined are one JSON object, unless the answer broke off."""

    index: int
    text: str


Delta = Content | Reasoning | Call | Arguments


@dataclass(frozen=True)
class ToolCall:
    """arguments: a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """An answer as a whole."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()

    def message(self) -> dict[str, object]:
        """The answer as the next prompt's messages hold it, in OpenAI's keys."""
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self.calls
        ]
        reasoning = {"reasoning_content": self.reasoning} if self.reasoning else {}
        return {"role": "assistant", "content": self.content, **reasoning, **({"tool_calls": calls} if calls else {})}


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """The same with neighbours of one kind as one."""
    out: list[Delta] = []
    for delta in deltas:
        last = out[-1] if out else None
        match last, delta:
            case Content(a), Content(b):
                out[-1] = Content(a + b)
            case Reasoning(a), Reasoning(b):
                out[-1] = Reasoning(a + b)
            case Arguments(i, a), Arguments(j, b) if i == j:
                out[-1] = Arguments(i, a + b)
            case _:
                out.append(delta)
    return out


def answer_of(deltas: Iterable[Delta]) -> Answer:
    """All deltas of an answer together."""
    deltas = list(deltas)
    texts = {d.index: "" for d in deltas if isinstance(d, Call)}
    for delta in deltas:
        if isinstance(delta, Arguments):
            texts[delta.index] += delta.text
    return Answer(
        "".join(d.text for d in deltas if isinstance(d, Content)),
        "".join(d.text for d in deltas if isinstance(d, Reasoning)),
        tuple(ToolCall(d.id, d.name, texts[d.index]) for d in deltas if isinstance(d, Call)),
    )
