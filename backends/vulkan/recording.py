"""Command buffers of one program: recorded once, submitted at each run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.tensor import Storage
from .api import vk
from .bindings import Bindings, Spot
from .branches import GRID_NBYTES, Branches
from .dispatches import Dispatch
from .logical import copy, submit_info
from .memory import Place
from .pipelines import PipelineKey
from .resources import Resources


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
        self._bindings: Bindings | None = None
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
        if self._bindings is not None:
            self._bindings.close()
        if self._queries is not None:
            vk.vkDestroyQueryPool(device, self._queries, vk.null)
        if self._fences is not None:
            vk.vkDestroyFence(device, self._fences[0], vk.null)
        self._bindings = self._queries = self._fences = None
        self._resources.pools["readback"].give([self._marks])

    def _record(self, script: Script, n_timed: int) -> None:
        self._fences = vk.array("VkFence", [self._logical.fence()])
        recorded, pipelines = [*script.branches.deciders, *script.dispatches], self._resources.pipelines
        self._bindings = bindings = Bindings(self._logical.handle, pipelines, recorded, script.spot)
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
                    self._choose(command, script, bindings)
                self._piece(command, piece, script, bindings)
                self._end(command, i, script.results if command is self._commands[-1] else ())

    def _choose(self, command: Any, script: Script, bindings: Bindings) -> None:
        """The grids of the dispatches that only some runs take."""
        for dispatch in script.branches.deciders:
            self._bind(command, dispatch, script, bindings)
            vk.vkCmdDispatch(command, *dispatch.call.grid)
        self._logical.before_branches.record(command)

    def _piece(self, command: Any, piece: Sequence[Dispatch], script: Script, bindings: Bindings) -> None:
        """The dispatches of one submission. The barrier before a node with nothing to do comes with the next node."""
        bound, node, timed = None, piece[0].node if piece else 0, self._queries is not None
        for dispatch in piece:
            if any(script.barriers[node + 1 : dispatch.node + 1]) or (timed and dispatch.node != node):
                self._logical.between_dispatches.record(command)
            node = dispatch.node
            if timed and dispatch is script.first[node]:
                self._time(command, 2 * node)
            bound = self._bind(command, dispatch, script, bindings, bound)
            self._dispatch(command, dispatch, script)
            if timed and dispatch is script.last[node]:
                self._time(command, 2 * node + 1)

    def _bind(
        self, command: Any, dispatch: Dispatch, script: Script, bindings: Bindings, bound: PipelineKey | None = None
    ) -> PipelineKey:
        """Pipeline (which may be bound already), buffers and arguments of a dispatch."""
        key = PipelineKey.of(dispatch.call)
        if bound != key:
            vk.vkCmdBindPipeline(command, vk.VK_PIPELINE_BIND_POINT_COMPUTE, script.pipelines[key])
        bindings.record(command, dispatch)
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


def place_spot(place: Place, offset: int = 0) -> Spot:
    return place.block.buffer, place.offset + offset
