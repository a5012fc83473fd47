"""Device memory in few large blocks, places handed out in them, and the arena that all programs share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import BackendError
from ...runtime.ir.arena import ALIGNMENT
from ..runs import Runs
from . import api
from .context import Context

BLOCK_MAX = 1 << 30
BLOCK_MIN = 1 << 20
MIB = 1 << 20


@dataclass(eq=False)
class Block:
    """One allocation. `runs` says what of it is free."""

    address: int
    runs: Runs


@dataclass(frozen=True, eq=False)
class Place:
    """A run of a block. `nbytes` is what was asked for; what it occupies is aligned."""

    block: Block
    offset: int
    nbytes: int

    @property
    def address(self) -> int:
        return self.block.address + self.offset


class Pool:
    """Places of one use. The caller has made the context current.

    apart: each in a block of its own that ends where it ends, so that compute-sanitizer sees every step beyond it.
    """

    def __init__(self, context: Context, apart: bool = False) -> None:
        self._context, self._apart = context, apart
        self._blocks: list[Block] = []

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the pool holds."""
        return sum(b.runs.nbytes for b in self._blocks)

    def take(self, wanted: Iterable[tuple[str, int]]) -> list[Place]:
        """Places for (name, bytes), all or none. BackendError when the device has no memory for them."""
        sizes = [(name, n, _aligned(n)) for name, n in wanted]
        left, places = sum(size for *_, size in sizes), []
        try:
            for name, n, size in sizes:
                places.append(self._place(name, n, size, left))
                left -= size
        except BackendError:
            self.give(places)
            raise
        return places

    def give(self, places: Iterable[Place]) -> None:
        for p in places:
            p.block.runs.give(p.offset, _aligned(p.nbytes))
            if p.block.runs.is_empty:
                self._blocks.remove(p.block)
                api.release("cuMemFree", p.block.address)

    def close(self) -> None:
        for block in self._blocks:
            api.release("cuMemFree", block.address)
        self._blocks.clear()

    def _place(self, name: str, nbytes: int, size: int, left: int) -> Place:
        for block in () if self._apart else self._blocks:
            if (start := block.runs.take(size)) is not None:
                return Place(block, start, nbytes)
        sizes = (nbytes,) if self._apart else (max(size, min(max(left, BLOCK_MIN), BLOCK_MAX)), size)
        block = self._new_block(name, sizes, left)
        self._blocks.append(block)
        return Place(block, block.runs.take(size) or 0, nbytes)

    def _new_block(self, name: str, sizes: tuple[int, ...], left: int) -> Block:
        """Of the first of these sizes for which there is memory."""
        for n in dict.fromkeys(sizes):
            try:
                return Block(int(api.call("cuMemAlloc", max(n, 1))), Runs(_aligned(n)))
            except api.CudaError as error:
                if error.status != api.OUT_OF_MEMORY:
                    raise
        raise no_room(self._context, name, min(sizes), left)


def no_room(context: Context, name: str, nbytes: int, left: int = 0) -> BackendError:
    physical = context.physical
    return BackendError(
        f"{physical.name}: out of memory for {name}: {nbytes / MIB:.1f} MiB wanted "
        f"({max(left, nbytes) / MIB:.1f} MiB with what follows), {context.nbytes_free() / MIB:.1f} MiB free, "
        f"of {physical.memory / MIB:.1f} MiB in all"
    )


def _aligned(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT


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
            raise no_room(self._context, "temporaries", size) if error.status == api.OUT_OF_MEMORY else error from None
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
