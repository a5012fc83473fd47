"""Device memory: blocks with one buffer each, and the places handed out in them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.arena import ALIGNMENT
from ..blocks import BlockPool, PlaceIn, aligned, block_sizes
from ..room import no_room
from ..runs import Runs
from .api import vk
from .logical import Logical
from .physical import MemoryType, Physical

DEVICE, VISIBLE, COHERENT, CACHED = 1, 2, 4, 8  # VkMemoryPropertyFlagBits
_LAZY = 0x10 | 0x20 | 0x40 | 0x80  # lazily allocated, protected, AMD's device-coherent and -uncached
USAGE = 0x1 | 0x2 | 0x20 | 0x100  # transfer source, transfer destination, storage buffer, indirect buffer
_AT_ADDRESS, _ALLOCATED_AT_ADDRESS = 0x20000, 0x2  # and what shaders reach by an address, of a buffer and of its memory


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


class Place(PlaceIn[Block]):
    @property
    def bytes(self) -> np.ndarray:
        """The mapped run as uint8."""
        return self.block.bytes[self.offset : self.offset + self.nbytes]

    @property
    def is_mapped(self) -> bool:
        return self.block.pointer is not None


class Pool(BlockPool[Block, Place]):
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
        """`mapped`: the host may write into the blocks that it can see.
        `spills`: when the first type is full, the next one that fits is taken, silently."""
        super().__init__(Place, apart)
        self._physical, self._device = logical.physical, logical.handle
        types = _memory_types(logical, preferred)
        self._types = types if spills else types[:1]
        self._is_mapped = mapped

    def _new_block(self, name: str, nbytes: int, ahead: Sequence[int]) -> Block:
        limits, size = self._physical.limits, aligned(nbytes)
        most = min(limits.max_allocation, limits.max_buffer) // ALIGNMENT * ALIGNMENT
        if size > most:
            raise BackendError(f"{name}: {size} bytes, the device allows at most {most} in one buffer")
        for memory in self._types:
            for n in (size,) if self._apart else block_sizes(ahead, most):
                with suppress(MemoryError):
                    return self._create(n, memory)
        physical = self._physical
        raise no_room(physical.name, name, size, sum(ahead), physical.memory_free(), self._types[0].heap_nbytes)

    def _create(self, nbytes: int, kind: MemoryType) -> Block:
        """MemoryError when the device has none."""
        info = vk.struct("VkBufferCreateInfo", size=nbytes, usage=_usage(self._physical))
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
        info = vk.struct(
            "VkMemoryAllocateInfo", pNext=_at_address(self._physical), allocationSize=nbytes, memoryTypeIndex=kind.index
        )
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
    bits = _type_bits(logical)
    plain = [t for t in logical.physical.memory_types if bits >> t.index & 1 and not t.flags & _LAZY]
    found = [next((t for t in plain if t.flags & flags == flags), None) for flags in preferred]
    if not any(found):
        raise BackendError(f"{logical.physical.name}: no memory type with flags {preferred}")
    return [t for t in found if t]


def _type_bits(logical: Logical) -> int:
    """The memory types that our buffers can live in: the same for all buffers of one usage."""
    info = vk.struct("VkBufferCreateInfo", size=4, usage=_usage(logical.physical))
    buffer = vk.create("vkCreateBuffer", "VkBuffer", logical.handle, info, vk.null)
    needs = vk.ffi.new("VkMemoryRequirements *")
    vk.vkGetBufferMemoryRequirements(logical.handle, buffer, needs)
    vk.vkDestroyBuffer(logical.handle, buffer, vk.null)
    return needs.memoryTypeBits


def _usage(physical: Physical) -> int:
    return USAGE | (_AT_ADDRESS if physical.has_addresses else 0)


def _at_address(physical: Physical) -> Any:
    if not physical.has_addresses:
        return vk.null
    return vk.struct("VkMemoryAllocateFlagsInfo", flags=_ALLOCATED_AT_ADDRESS)
