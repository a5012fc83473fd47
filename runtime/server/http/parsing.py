"""What goes through an answer's text piece by piece."""

from dataclasses import dataclass
from typing import Protocol

from ...text.answers.deltas import Arguments, Call, Content, Delta


class Parser(Protocol):
    """Of one answer."""

    def feed(self, text: str) -> list[Delta]: ...
    def finish(self) -> list[Delta]: ...


class PlainParser:
    """All of it is for the user."""

    def feed(self, text: str) -> list[Delta]:
        return [Content(text)] if text else []

    def finish(self) -> list[Delta]:
        return []


@dataclass
class OneCall:
    """Of the calls that another parser finds the first alone, as who wants no parallel ones asks for."""

    parser: Parser

    def feed(self, text: str) -> list[Delta]:
        return _first(self.parser.feed(text))

    def finish(self) -> list[Delta]:
        return _first(self.parser.finish())


def _first(deltas: list[Delta]) -> list[Delta]:
    return [delta for delta in deltas if not isinstance(delta, Call | Arguments) or delta.index == 0]
