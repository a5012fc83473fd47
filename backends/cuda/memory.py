"""Device memory in few large blocks, places handed out in them, and the arena that all programs share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import BackendError
from ..blocks import BlockPool, PlaceIn, aligned, block_sizes
from ..room import no_room
from ..runs import Runs
from . import api
from .context import Context


@dataclass(eq=False)
class Block:
    """One allocation. `runs` says what of it is free."""

    address: int
    runs: Runs


class Place(PlaceIn[Block]):
    @property
    def address(self) -> int:
        return self.block.address + self.offset


class Pool(BlockPool[Block, Place]):
    """Places of one use. The caller has made the context current. Apart, a block ends where its place ends, so that
    compute-sanitizer sees every step beyond it."""

    def __init__(self, context: Context, apart: bool = False) -> None:
        super().__init__(Place, apart)
        self._context = context

    def _new_block(self, name: str, nbytes: int, ahead: Sequence[int]) -> Block:
        sizes = (nbytes,) if self._apart else block_sizes(ahead)
        for n in sizes:
            try:
                return Block(int(api.call("cuMemAlloc", max(n, 1))), Runs(aligned(n)))
            except api.CudaError as error:
                if error.status != api.OUT_OF_MEMORY:
                    raise
        raise _no_room(self._context, name, min(sizes), sum(ahead))

    def _destroy(self, block: Block) -> None:
        api.release("cuMemFree", block.address)


def _no_room(context: Context, name: str, nbytes: int, left: int = 0) -> BackendError:
    physical = context.physical
    return no_room(physical.name, name, nbytes, left, context.nbytes_free(), physical.memory)


class ArenaMemory:
    """The temporaries of whichever program runs. Its addresses are reserved once and memory is put behind them as plans
    want more, so that it never moves, and graphs that were made stay as they are."""

    def __init__(self, context: Context) -> None:
        self._context, self._kind = context, _pinned_to(context)
        recommended = api.driver().CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_RECOMMENDED
        self._unit: int = api.call("cuMemGetAllocationGranularity", self._kind, recommended)
        self._reserved = self._whole(context.physical.memory)
        self.address = int(api.call("cuMemAddressReserve", self._reserved, 0, 0, 0))
        self._sizes: list[int] = []  # of what stands behind the addresses, from the first one on

    @property
    def nbytes(self) -> int:
        return sum(self._sizes)

    def require(self, nbytes: int) -> None:
        """Grow to at least so many bytes."""
        if nbytes <= self.nbytes:
            return
        size = self._whole(nbytes - self.nbytes)
        try:
            memory = api.call("cuMemCreate", size, self._kind, 0)
        except api.CudaError as error:
            raise _no_room(self._context, "temporaries", size) if error.status == api.OUT_OF_MEMORY else error from None
        start = self.address + self.nbytes
        api.call("cuMemMap", start, size, 0, memory, 0)
        api.call("cuMemRelease", memory)  # it lives on as long as it is mapped
        self._sizes.append(size)
        api.call("cuMemSetAccess", start, size, [self._access()], 1)

    def close(self) -> None:
        start = self.address
        for size in self._sizes:
            api.release("cuMemUnmap", start, size)
            start += size
        self._sizes.clear()
        api.release("cuMemAddressFree", self.address, self._reserved)

    def _whole(self, nbytes: int) -> int:
        return -(-nbytes // self._unit) * self._unit

    def _access(self) -> Any:
        driver, access = api.driver(), api.driver().CUmemAccessDesc()
        access.location, access.flags = self._kind.location, driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        return access


def _pinned_to(context: Context) -> Any:
    """CUmemAllocationProp of memory of the device."""
    driver, kind = api.driver(), api.driver().CUmemAllocationProp()
    kind.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    kind.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    kind.location.id = context.physical.index
    return kind
