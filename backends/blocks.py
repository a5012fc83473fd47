"""Device memory in few large blocks, and places handed out in them, whatever the API."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Generic, Protocol, TypeVar

from ..runtime.errors import BackendError
from ..runtime.ir.arena import ALIGNMENT
from .runs import Runs

BLOCK_MAX, BLOCK_MIN = 1 << 30, 1 << 20


class Block(Protocol):
    """One allocation. `runs` says what of it is free."""

    runs: Runs


T = TypeVar("T")
B = TypeVar("B", bound=Block)


@dataclass(frozen=True, eq=False)
class PlaceIn(Generic[T]):
    """A run of a block. `nbytes` is what was asked for; what it occupies is aligned."""

    block: T
    offset: int
    nbytes: int


P = TypeVar("P", bound=PlaceIn)


class BlockPool(ABC, Generic[B, P]):
    """Places of one use. `apart`: each in a block of its own, so that tools see every step beyond it."""

    def __init__(self, place: Callable[[B, int, int], P], apart: bool) -> None:
        self._place, self._apart = place, apart
        self._blocks: list[B] = []

    @abstractmethod
    def _new_block(self, name: str, nbytes: int, ahead: Sequence[int]) -> B:
        """A block with room for nbytes. `ahead`: aligned sizes of it and of what follows. BackendError when there is no
        memory: see no_room."""

    @abstractmethod
    def _destroy(self, block: B) -> None: ...

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the pool holds."""
        return sum(b.runs.nbytes for b in self._blocks)

    def take(self, wanted: Iterable[tuple[str, int]]) -> list[P]:
        """Places for (name, bytes), all or none. BackendError when the device has no memory for them."""
        listed = list(wanted)
        sizes, places = [aligned(n) for _, n in listed], []
        try:
            for i, (name, n) in enumerate(listed):
                places.append(self._found(name, n, sizes[i:]))
        except BackendError:
            self.give(places)
            raise
        return places

    def give(self, places: Iterable[P]) -> None:
        for p in places:
            p.block.runs.give(p.offset, aligned(p.nbytes))
            if p.block.runs.is_empty and p.block in self._blocks:
                self._blocks.remove(p.block)
                self._destroy(p.block)

    def close(self) -> None:
        for block in self._blocks:
            self._destroy(block)
        self._blocks.clear()

    def _found(self, name: str, nbytes: int, ahead: Sequence[int]) -> P:
        for block in () if self._apart else self._blocks:
            if (start := block.runs.take(aligned(nbytes))) is not None:
                return self._place(block, start, nbytes)
        block = self._new_block(name, nbytes, ahead)
        self._blocks.append(block)
        return self._place(block, block.runs.take(aligned(nbytes)) or 0, nbytes)


def block_sizes(ahead: Sequence[int], most: int = BLOCK_MAX) -> tuple[int, ...]:
    """Sizes to try for a new block: what exactly holds as many of the sizes ahead as fit, else what holds the first."""
    limit, first = min(most, BLOCK_MAX), ahead[0]
    whole = max(takewhile(lambda nbytes: nbytes <= limit, accumulate(ahead)), default=first)
    return tuple(dict.fromkeys((max(whole, min(limit, BLOCK_MIN)), first)))


def aligned(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
