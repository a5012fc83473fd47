"""Memory that the processor and the GPU share, in few large buffers, and places handed out in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.arena import ALIGNMENT
from ..blocks import BlockPool, PlaceIn, aligned, block_sizes
from ..room import no_room
from ..runs import Runs
from .context import Context


@dataclass(eq=False)
class Block:
    """One MTLBuffer in shared storage. `runs` says what of it is free; `bytes` is all of it as uint8."""

    buffer: Any
    runs: Runs
    bytes: np.ndarray = field(repr=False)


class Place(PlaceIn[Block]):
    @property
    def bytes(self) -> np.ndarray:
        return self.block.bytes[self.offset : self.offset + self.nbytes]


class Pool(BlockPool[Block, Place]):
    """Places of one use. Nothing may be under way over places that are given back. Apart, a buffer ends where its place
    ends, so that Metal's shader validation sees every step beyond it."""

    def __init__(self, context: Context, apart: bool = False) -> None:
        super().__init__(Place, apart)
        self._context = context

    def _new_block(self, name: str, nbytes: int, ahead: Sequence[int]) -> Block:
        physical = self._context.physical
        most = physical.max_buffer // ALIGNMENT * ALIGNMENT
        if nbytes > most:
            raise BackendError(f"{name}: {nbytes} bytes, {physical.name} allows at most {most} in one buffer")
        for n in (nbytes,) if self._apart else block_sizes(ahead, most):
            if (block := self._created(n)) is not None:
                return block
        free = self._context.nbytes_free()
        raise no_room(physical.name, name, aligned(nbytes), sum(ahead), free, physical.memory)

    def _created(self, nbytes: int) -> Block | None:
        """None where there is no room: Metal hands out more than the GPU can work with at once."""
        if nbytes > self._context.nbytes_free():
            return None
        shared = self._context.metal.MTLResourceStorageModeShared
        buffer = self._context.device.newBufferWithLength_options_(nbytes, shared)
        if buffer is None:
            return None
        seen = np.frombuffer(buffer.contents().as_buffer(nbytes), np.uint8)
        return Block(buffer, Runs(aligned(nbytes)), seen)

    def _destroy(self, block: Block) -> None:
        """The buffer goes with its last reference."""
        block.bytes, block.buffer = np.empty(0, np.uint8), None


class ArenaMemory:
    """The temporaries of whichever program runs: one buffer, as large as the largest plan wants.

    When it grows, `generation` does, and programs find their buffers anew before they run again.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._pool = context, Pool(context, apart=True)
        self.place: Place | None = None
        self.generation = 0

    @property
    def nbytes(self) -> int:
        return self._pool.nbytes

    def require(self, nbytes: int) -> None:
        """Grow to at least so many bytes. After a BackendError there is none at all."""
        if self.place is not None and self.place.nbytes >= nbytes:
            return
        self.close()
        self.generation += 1
        (self.place,) = self._pool.take([("temporaries", max(nbytes, 1))])

    def close(self) -> None:
        if self.place is not None:
            self._context.come_to_rest()
            self._pool.give([self.place])
            self.place = None
