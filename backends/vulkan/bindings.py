"""How a shader gets its buffers: by descriptor sets, or at addresses that are pushed behind its arguments."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...runtime.ir.tensor import Storage
from ...shaders.addresses import addresses_at
from .api import vk
from .dispatches import Dispatch
from .pipelines import PipelineKey, Pipelines

Spot = tuple[Any, int]  # a buffer and an offset in it
Bound = tuple[tuple[int, int, int], ...]  # VkDescriptorBufferInfo of each binding as numbers: buffer, offset, range


class Bindings:
    """Of dispatches whose pipelines are there; owns their descriptors. `spot` says where a storage is. It is not kept,
    since it holds the program that holds these."""

    def __init__(
        self, device: Any, pipelines: Pipelines, dispatches: Iterable[Dispatch], spot: Callable[[Storage], Spot]
    ) -> None:
        self._device, self._pipelines = device, pipelines
        self._pool: Any = None
        self._starts: dict[int, int] = {}  # addresses of buffers
        self._bound = {dispatch: _bound(dispatch, spot) for dispatch in dispatches}
        self._sets = self._create_sets([d for d in self._bound if not pipelines.pushes_addresses(d.call.code)])

    def record(self, command: Any, dispatch: Dispatch) -> None:
        """Descriptors and push constants of a dispatch."""
        layout, push = self._pipelines.layout(PipelineKey.of(dispatch.call)).pipeline, dispatch.push()
        if dispatch in self._sets:
            sets, compute = vk.ffi.new("VkDescriptorSet[1]", [self._sets[dispatch]]), vk.VK_PIPELINE_BIND_POINT_COMPUTE
            vk.vkCmdBindDescriptorSets(command, compute, layout, 0, 1, sets, 0, vk.null)
        else:
            push = push.ljust(addresses_at(len(dispatch.ordered.arguments)), b"\0") + self._addresses(dispatch)
        if push:
            data = vk.ffi.from_buffer(push)
            vk.vkCmdPushConstants(command, layout, vk.VK_SHADER_STAGE_COMPUTE_BIT, 0, len(push), data)

    def close(self) -> None:
        if self._pool is not None:
            vk.vkDestroyDescriptorPool(self._device, self._pool, vk.null)
        self._pool = None

    def _addresses(self, dispatch: Dispatch) -> bytes:
        at = [self._start(buffer) + offset for buffer, offset, _ in self._bound[dispatch]]
        return np.array(at, np.uint64).tobytes()

    def _start(self, buffer: int) -> int:
        if buffer not in self._starts:
            info = vk.struct("VkBufferDeviceAddressInfo", buffer=vk.ffi.cast("VkBuffer", buffer))
            self._starts[buffer] = vk.vkGetBufferDeviceAddress(self._device, info)
        return self._starts[buffer]

    def _create_sets(self, dispatches: Sequence[Dispatch]) -> dict[Dispatch, Any]:
        """A descriptor set for each distinct row of bindings."""
        distinct = list(dict.fromkeys(self._bound[dispatch] for dispatch in dispatches))
        if not distinct:
            return {}
        made = dict(zip(distinct, self._allocate([len(b) for b in distinct]), strict=True))
        self._write(made)
        return {dispatch: made[self._bound[dispatch]] for dispatch in dispatches}

    def _allocate(self, counts: Sequence[int]) -> list[Any]:
        size = vk.struct("VkDescriptorPoolSize", type=vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, descriptorCount=sum(counts))
        info = vk.struct("VkDescriptorPoolCreateInfo", maxSets=len(counts), poolSizeCount=1, pPoolSizes=size)
        self._pool = vk.create("vkCreateDescriptorPool", "VkDescriptorPool", self._device, info, vk.null)
        layouts = vk.array("VkDescriptorSetLayout", [self._pipelines.bound_layout(n).set for n in counts])
        info = vk.struct(
            "VkDescriptorSetAllocateInfo",
            descriptorPool=self._pool,
            descriptorSetCount=len(counts),
            pSetLayouts=layouts,
        )
        made = vk.ffi.new("VkDescriptorSet[]", len(counts))
        vk.call("vkAllocateDescriptorSets", self._device, info, made)
        return list(made)

    def _write(self, sets: Mapping[Bound, Any]) -> None:
        rows = np.array([row for bound in sets for row in bound], np.uint64)
        infos = vk.ffi.cast("VkDescriptorBufferInfo *", vk.ffi.from_buffer(rows))
        writes = vk.ffi.new("VkWriteDescriptorSet[]", len(sets))
        at = 0
        for write, (bound, handle) in zip(writes, sets.items(), strict=True):
            write.sType, write.dstSet = vk.VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, handle
            write.descriptorType, write.descriptorCount = vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, len(bound)
            write.pBufferInfo = infos + at
            at += len(bound)
        vk.vkUpdateDescriptorSets(self._device, len(sets), writes, 0, vk.null)


def _bound(dispatch: Dispatch, spot: Callable[[Storage], Spot]) -> Bound:
    return tuple(_binding(t.storage, dispatch, spot) for t in dispatch.ordered.buffers)


def _binding(storage: Storage, dispatch: Dispatch, spot: Callable[[Storage], Spot]) -> tuple[int, int, int]:
    (buffer, offset), (start, size) = spot(storage), dispatch.covered[storage]
    return int(vk.ffi.cast("uintptr_t", buffer)), offset + start, size
