"""Device memory: blocks with one buffer each, and the places handed out in them."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.arena import ALIGNMENT
from ..runs import Runs
from .api import vk
from .logical import Logical
from .physical import GIB, MemoryType

BLOCK_MAX = GIB
BLOCK_MIN = 1 << 20
DEVICE, VISIBLE, COHERENT, CACHED = 1, 2, 4, 8  # VkMemoryPropertyFlagBits
_LAZY = 0x10 | 0x20 | 0x40 | 0x80  # lazily allocated, protected, AMD's device-coherent and -uncached
USAGE = 0x1 | 0x2 | 0x20 | 0x100  # transfer source, transfer destination, storage buffer, indirect buffer
UNIT = 1 << 20


@dataclass(eq=False)
class Block:
    """One VkDeviceMemory under one VkBuffer. `runs` says what of it is free."""

    memory: Any
    buffer: Any
    nbytes: int
    flags: int
    pointer: Any  # where it is mapped, or None
    runs: Runs

    @cached_property
    def bytes(self) -> np.ndarray:
        """The mapped memory as uint8."""
        return np.frombuffer(vk.ffi.buffer(self.pointer, self.nbytes), np.uint8)


@dataclass(frozen=True, eq=False)
class Place:
    """A run of a block. `nbytes` is what was asked for; what it occupies is aligned."""

    block: Block
    offset: int
    nbytes: int

    @property
    def bytes(self) -> np.ndarray:
        """The mapped run as uint8."""
        return self.block.bytes[self.offset : self.offset + self.nbytes]

    @property
    def is_mapped(self) -> bool:
        return self.block.pointer is not None


class Pool:
    """Places of one use, in blocks of the first memory type of `preferred` flags that the device has."""

    def __init__(
        self,
        logical: Logical,
        preferred: Sequence[int],
        *,
        apart: bool = False,
        mapped: bool = True,
        spills: bool = False,
    ) -> None:
        """`apart`: one block a place, so that the validation layer sees each tensor as a buffer of its own.
        `mapped`: the host may write into the blocks that it can see.
        `spills`: when the first type is full, the next one that fits is taken, silently."""
        self._physical, self._device, self._apart = logical.physical, logical.handle, apart
        types = _memory_types(logical, preferred)
        self._types = types if spills else types[:1]
        self._is_mapped = mapped
        self._blocks: list[Block] = []

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the pool holds."""
        return sum(b.nbytes for b in self._blocks)

    def take(self, wanted: Iterable[tuple[str, int]]) -> list[Place]:
        """Places for (name, bytes), all or none. BackendError when the device has no memory for them."""
        sizes = [(name, n, -(-max(n, 1) // ALIGNMENT) * ALIGNMENT) for name, n in wanted]
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
            p.block.runs.give(p.offset, -(-max(p.nbytes, 1) // ALIGNMENT) * ALIGNMENT)
            if p.block.runs.is_empty and p.block in self._blocks:
                self._blocks.remove(p.block)
                self._destroy(p.block)

    def close(self) -> None:
        for block in self._blocks:
            self._destroy(block)
        self._blocks.clear()

    def _place(self, name: str, nbytes: int, size: int, left: int) -> Place:
        for block in () if self._apart else self._blocks:
            if (start := block.runs.take(size)) is not None:
                return Place(block, start, nbytes)
        block = self._new_block(name, size, left)
        self._blocks.append(block)
        return Place(block, block.runs.take(size) or 0, nbytes)

    def _new_block(self, name: str, size: int, left: int) -> Block:
        limits = self._physical.limits
        most = min(limits.max_allocation, limits.max_buffer) // ALIGNMENT * ALIGNMENT
        if size > most:
            raise BackendError(f"{name}: {size} bytes, the device allows at most {most} in one buffer")
        nbytes = size if self._apart else max(size, min(max(left, BLOCK_MIN), most, BLOCK_MAX))
        for memory in self._types:
            for n in (nbytes, size):
                with suppress(MemoryError):
                    return self._create(n, memory)
        raise BackendError(self._no_room(name, size, left))

    def _no_room(self, name: str, size: int, left: int) -> str:
        free = self._physical.memory_free()
        known = "free memory unknown" if free is None else f"{free / UNIT:.1f} MiB free"
        return (
            f"{self._physical.name}: out of memory for {name}: {size / UNIT:.1f} MiB wanted "
            f"({max(left, size) / UNIT:.1f} MiB with what follows), {known}, "
            f"of {self._types[0].heap_nbytes / UNIT:.1f} MiB in all"
        )

    def _create(self, nbytes: int, kind: MemoryType) -> Block:
        """MemoryError when the device has none."""
        info = vk.struct("VkBufferCreateInfo", size=nbytes, usage=USAGE)
        buffer = vk.create("vkCreateBuffer", "VkBuffer", self._device, info, vk.null)
        memory, pointer = None, None
        try:
            needs = vk.ffi.new("VkMemoryRequirements *")
            vk.vkGetBufferMemoryRequirements(self._device, buffer, needs)
            memory = self._allocate(needs.size, kind)
            vk.call("vkBindBufferMemory", self._device, buffer, memory, 0)
            if self._is_mapped and kind.flags & VISIBLE:
                pointer = vk.create("vkMapMemory", "void *", self._device, memory, 0, needs.size, 0)
        except BaseException:
            vk.vkDestroyBuffer(self._device, buffer, vk.null)
            if memory is not None:
                vk.vkFreeMemory(self._device, memory, vk.null)
            raise
        return Block(memory, buffer, nbytes, kind.flags, pointer, Runs(nbytes))

    def _allocate(self, nbytes: int, kind: MemoryType) -> Any:
        if nbytes > kind.heap_nbytes:  # drivers of CPUs hand out what is not there, and die later
            raise MemoryError
        info = vk.struct("VkMemoryAllocateInfo", allocationSize=nbytes, memoryTypeIndex=kind.index)
        out = vk.ffi.new("VkDeviceMemory *")
        result = vk.vkAllocateMemory(self._device, info, vk.null, out)
        if result in (vk.VK_ERROR_OUT_OF_DEVICE_MEMORY, vk.VK_ERROR_OUT_OF_HOST_MEMORY, vk.VK_ERROR_TOO_MANY_OBJECTS):
            raise MemoryError
        vk.check(result, "vkAllocateMemory")
        return out[0]

    def _destroy(self, block: Block) -> None:
        vk.vkDestroyBuffer(self._device, block.buffer, vk.null)
        vk.vkFreeMemory(self._device, block.memory, vk.null)


def _memory_types(logical: Logical, preferred: Sequence[int]) -> list[MemoryType]:
    """For each wish that can be met, the first type with all its flags: drivers list better ones first."""
    bits = _type_bits(logical.handle)
    plain = [t for t in logical.physical.memory_types if bits >> t.index & 1 and not t.flags & _LAZY]
    found = [next((t for t in plain if t.flags & flags == flags), None) for flags in preferred]
    if not any(found):
        raise BackendError(f"{logical.physical.name}: no memory type with flags {preferred}")
    return [t for t in found if t]


def _type_bits(device: Any) -> int:
    """The memory types that our buffers can live in: the same for all buffers of one usage."""
    buffer = vk.create(
        "vkCreateBuffer", "VkBuffer", device, vk.struct("VkBufferCreateInfo", size=4, usage=USAGE), vk.null
    )
    needs = vk.ffi.new("VkMemoryRequirements *")
    vk.vkGetBufferMemoryRequirements(device, buffer, needs)
    vk.vkDestroyBuffer(device, buffer, vk.null)
    return needs.memoryTypeBits
