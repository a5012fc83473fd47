"""Values of Metal and Foundation as pyobjc gives them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Size(NamedTuple):
    """MTLSize."""

    width: int
    height: int
    depth: int


class Range(NamedTuple):
    """NSRange."""

    location: int
    length: int


@dataclass
class Failure:
    """NSError."""

    number: int
    text: str

    def code(self) -> int:
        return self.number

    def localizedDescription(self) -> str:
        return self.text


@dataclass(frozen=True)
class URL:
    """NSURL."""

    path: Path

    @staticmethod
    def fileURLWithPath_(path: str) -> "URL":
        return URL(Path(path))


class Made:
    """An Objective-C class of which objects are made by alloc().init()."""

    @classmethod
    def alloc(cls):
        return cls.__new__(cls)

    def init(self):
        self.__init__()
        return self
