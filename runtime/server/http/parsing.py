"""What an answer's text is made of: words for the user, what was thought, calls of tools."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class CallDelta:
    """More of the call at `index`; the first of a call has its id and name."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Delta:
    content: str = ""
    reasoning: str = ""
    call: CallDelta | None = None


class Parser(Protocol):
    """Of one answer: takes its text piece by piece."""

    def feed(self, text: str) -> list[Delta]: ...
    def end(self) -> list[Delta]: ...


class PlainParser:
    """All of it is for the user."""

    def feed(self, text: str) -> list[Delta]:
        return [Delta(text)] if text else []

    def end(self) -> list[Delta]:
        return []
