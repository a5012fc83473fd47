"""Command buffers of one program: recorded once, submitted at each run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.tensor import Storage
from .api import vk
from .branches import GRID_NBYTES, Branches
from .dispatches import Dispatch
from .logical import copy, submit_info
from .memory import Place
from .pipelines import PipelineKey
from .resources import Resources

Spot = tuple[Any, int]  # a buffer and an offset in it


@dataclass(frozen=True)
class Script:
    """What to record: dispatches in pieces of one submission each, where barriers go, what is copied out at the end."""

    pieces: Sequence[Sequence[Dispatch]]
    barriers: Sequence[bool]
    pipelines: Mapping[PipelineKey, Any]
    spot: Callable[[Storage], Spot]
    results: Sequence[tuple[Spot, Spot, int]]  # from, to, bytes
    branches: Branches

    @cached_property
    def dispatches(self) -> list[Dispatch]:
        return [dispatch for piece in self.pieces for dispatch in piece]

    @cached_property
    def first(self) -> dict[int, Dispatch]:
        """The first dispatch of each node; one that was split has several."""
        return {dispatch.node: dispatch for dispatch in reversed(self.dispatches)}

    @cached_property
    def last(self) -> dict[int, Dispatch]:
        return {dispatch.node: dispatch for dispatch in self.dispatches}


class Recording:
    """Owns its command buffers, descriptors and fence; `close()` gives them back. The caller holds the lock."""

    def __init__(self, resources: Resources, script: Script, n_timed: int = 0) -> None:
        self._resources, self._logical = resources, resources.logical
        self._pool: Any = None
        self._queries: Any = None
        self._fences: Any = None
        self._commands: list[Any] = []
        (self._marks,) = resources.pools["readback"].take([("marks", 4 * len(script.pieces))])
        try:
            self._record(script, n_timed)
        except BaseException:
            self.close()
            raise
        self._done = self._marks.bytes.view(np.uint32)

    def run(self) -> None:
        self.submit()
        self.finish()

    def submit(self) -> None:
        """Hand the work to the device; finish() before the next one of this recording."""
        self._done[:] = 0
        try:
            for info in self._infos[:-1]:
                self._logical.submit(info, vk.null)
            self._logical.submit(self._infos[-1], self._fences[0])
        except BaseException:
            self._logical.settle(self._fences)
            raise

    def finish(self) -> None:
        """Wait, and see that each piece came to its end: some drivers cancel work and report success."""
        try:
            self._logical.wait(self._fences)
        except BaseException:
            self._logical.settle(self._fences)
            raise
        if not self._done.all():
            raise BackendError(
                f"{self._logical.physical.name}: the driver cancelled a submission (a time-out, most likely); "
                "set VKRUN_SUBMIT_GFLOP lower"
            )

    def seconds(self, nodes: Sequence[int]) -> dict[int, float]:
        """What each of the nodes that were dispatched took, after run()."""
        return {i: self._elapsed(i) for i in nodes}

    def _elapsed(self, node: int) -> float:
        limits, raw = self._resources.limits, vk.ffi.new("uint64_t[2]")
        flags = vk.VK_QUERY_RESULT_64_BIT | vk.VK_QUERY_RESULT_WAIT_BIT
        vk.call("vkGetQueryPoolResults", self._logical.handle, self._queries, 2 * node, 2, 16, raw, 8, flags)
        return ((raw[1] - raw[0]) & ((1 << limits.timestamp_bits) - 1)) * limits.timestamp_ns * 1e-9

    def close(self) -> None:
        device = self._logical.handle
        self._logical.free_commands(self._commands)
        self._commands = []
        for handle, destroy in ((self._pool, vk.vkDestroyDescriptorPool), (self._queries, vk.vkDestroyQueryPool)):
            if handle is not None:
                destroy(device, handle, vk.null)
        if self._fences is not None:
            vk.vkDestroyFence(device, self._fences[0], vk.null)
        self._pool = self._queries = self._fences = None
        self._resources.pools["readback"].give([self._marks])

    def _record(self, script: Script, n_timed: int) -> None:
        self._fences = vk.array("VkFence", [self._logical.fence()])
        sets = self._sets([*script.branches.deciders, *script.dispatches], script.spot)
        if n_timed:
            info = vk.struct("VkQueryPoolCreateInfo", queryType=vk.VK_QUERY_TYPE_TIMESTAMP, queryCount=2 * n_timed)
            self._queries = vk.create("vkCreateQueryPool", "VkQueryPool", self._logical.handle, info, vk.null)
        self._commands = self._logical.commands(len(script.pieces))
        self._infos = [submit_info([c]) for c in self._commands]
        for i, (command, piece) in enumerate(zip(self._commands, script.pieces, strict=True)):
            with self._logical.recording(command):
                self._logical.everything.record(command)
                if n_timed and i == 0:
                    vk.vkCmdResetQueryPool(command, self._queries, 0, 2 * n_timed)
                if script.branches.rows and i == 0:
                    self._choose(command, script, sets)
                self._piece(command, piece, script, sets)
                self._end(command, i, script.results if command is self._commands[-1] else ())

    def _choose(self, command: Any, script: Script, sets: Mapping[Dispatch, Any]) -> None:
        """The grids of the dispatches that only some runs take."""
        for dispatch in script.branches.deciders:
            self._bind(command, dispatch, script, sets)
            vk.vkCmdDispatch(command, *dispatch.call.grid)
        self._logical.before_branches.record(command)

    def _piece(self, command: Any, piece: Sequence[Dispatch], script: Script, sets: Mapping[Dispatch, Any]) -> None:
        """The dispatches of one submission. The barrier before a node with nothing to do comes with the next node."""
        bound, node, timed = None, piece[0].node if piece else 0, self._queries is not None
        for dispatch in piece:
            if any(script.barriers[node + 1 : dispatch.node + 1]) or (timed and dispatch.node != node):
                self._logical.between_dispatches.record(command)
            node = dispatch.node
            if timed and dispatch is script.first[node]:
                self._time(command, 2 * node)
            bound = self._bind(command, dispatch, script, sets, bound)
            self._dispatch(command, dispatch, script)
            if timed and dispatch is script.last[node]:
                self._time(command, 2 * node + 1)

    def _bind(
        self,
        command: Any,
        dispatch: Dispatch,
        script: Script,
        sets: Mapping[Dispatch, Any],
        bound: PipelineKey | None = None,
    ) -> PipelineKey:
        """Pipeline (which may be bound already), descriptors and push constants of a dispatch."""
        compute, key = vk.VK_PIPELINE_BIND_POINT_COMPUTE, PipelineKey.of(dispatch.call)
        if bound != key:
            vk.vkCmdBindPipeline(command, compute, script.pipelines[key])
        layout, push = self._resources.pipelines.layout(key.n_bindings).pipeline, dispatch.push()
        at = vk.ffi.new("VkDescriptorSet[1]", [sets[dispatch]])
        vk.vkCmdBindDescriptorSets(command, compute, layout, 0, 1, at, 0, vk.null)
        if push:
            data = vk.ffi.from_buffer(push)
            vk.vkCmdPushConstants(command, layout, vk.VK_SHADER_STAGE_COMPUTE_BIT, 0, len(push), data)
        return key

    def _dispatch(self, command: Any, dispatch: Dispatch, script: Script) -> None:
        row = script.branches.rows.get(dispatch)
        if row is None:
            vk.vkCmdDispatch(command, *dispatch.call.grid)
        else:
            buffer, start = script.spot(script.branches.grids)
            vk.vkCmdDispatchIndirect(command, buffer, start + row * GRID_NBYTES)

    def _time(self, command: Any, query: int) -> None:
        vk.vkCmdWriteTimestamp(command, vk.VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, self._queries, query)

    def _end(self, command: Any, index: int, results: Sequence[tuple[Spot, Spot, int]]) -> None:
        self._logical.before_copies.record(command)
        for source, target, nbytes in results:
            copy(command, source, target, nbytes)
        vk.vkCmdFillBuffer(command, self._marks.block.buffer, self._marks.offset + 4 * index, 4, 1)
        self._logical.before_host.record(command)

    def _sets(self, dispatches: Sequence[Dispatch], spot: Callable[[Storage], Spot]) -> dict[Dispatch, Any]:
        """A descriptor set for each distinct row of bindings."""
        bound = {dispatch: _bound(dispatch, spot) for dispatch in dispatches}
        distinct = list(dict.fromkeys(bound.values()))
        if not distinct:
            return {}
        made = dict(zip(distinct, self._allocate_sets([len(b) for b in distinct]), strict=True))
        self._write_sets(made)
        return {dispatch: made[b] for dispatch, b in bound.items()}

    def _allocate_sets(self, counts: Sequence[int]) -> list[Any]:
        size = vk.struct("VkDescriptorPoolSize", type=vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, descriptorCount=sum(counts))
        info = vk.struct("VkDescriptorPoolCreateInfo", maxSets=len(counts), poolSizeCount=1, pPoolSizes=size)
        self._pool = vk.create("vkCreateDescriptorPool", "VkDescriptorPool", self._logical.handle, info, vk.null)
        layouts = vk.array("VkDescriptorSetLayout", [self._resources.pipelines.layout(n).set for n in counts])
        info = vk.struct(
            "VkDescriptorSetAllocateInfo",
            descriptorPool=self._pool,
            descriptorSetCount=len(counts),
            pSetLayouts=layouts,
        )
        made = vk.ffi.new("VkDescriptorSet[]", len(counts))
        vk.call("vkAllocateDescriptorSets", self._logical.handle, info, made)
        return list(made)

    def _write_sets(self, sets: Mapping[tuple, Any]) -> None:
        rows = np.array([row for bound in sets for row in bound], np.uint64)
        infos = vk.ffi.cast("VkDescriptorBufferInfo *", vk.ffi.from_buffer(rows))
        writes = vk.ffi.new("VkWriteDescriptorSet[]", len(sets))
        at = 0
        for write, (bound, handle) in zip(writes, sets.items(), strict=True):
            write.sType, write.dstSet = vk.VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, handle
            write.descriptorType, write.descriptorCount = vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, len(bound)
            write.pBufferInfo = infos + at
            at += len(bound)
        vk.vkUpdateDescriptorSets(self._logical.handle, len(sets), writes, 0, vk.null)


def _bound(dispatch: Dispatch, spot: Callable[[Storage], Spot]) -> tuple[tuple[int, int, int], ...]:
    """VkDescriptorBufferInfo of each binding as numbers: buffer, offset, range."""
    return tuple(_binding(t.storage, dispatch, spot) for t in dispatch.ordered.buffers)


def _binding(storage: Storage, dispatch: Dispatch, spot: Callable[[Storage], Spot]) -> tuple[int, int, int]:
    (buffer, offset), (start, size) = spot(storage), dispatch.covered[storage]
    return int(vk.ffi.cast("uintptr_t", buffer)), offset + start, size


def place_spot(place: Place, offset: int = 0) -> Spot:
    return place.block.buffer, place.offset + offset
