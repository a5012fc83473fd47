"""One CUDA graph a plan, or several where a watchdog looks on: a node each launch, edges where the plan has barriers,
copies of the outputs at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from . import api
from .context import Context
from .launches import Launch

# A launch that waits for one other alone may be started before that one has ended: kernels wait before they read what
# others write. One that asks for weights before is as soon as all workgroups of that other have begun, if it has about
# one of its own for every processor: fewer would crowd on those that are free first.
_PROGRAMMATIC = 1  # CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC
_ENDING, _BEGUN = 1, 2  # CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC, whose groups say so or end, and _LAUNCH_ORDER
_EVERY = 0.975  # of the processors


@dataclass(frozen=True)
class Copy:
    """Bytes that go to pinned memory of the host after the last launch."""

    source: int
    target: int
    nbytes: int


class ExecutableGraph:
    """The caller has made the context current."""

    def __init__(
        self,
        context: Context,
        launches: Sequence[Launch],
        barriers: Sequence[bool],
        copies: Sequence[Copy],
        *,
        early: bool,
    ) -> None:
        """early: dependent launch, for devices that have it."""
        graph = api.call("cuGraphCreate", 0)
        try:
            last = _Builder(context, graph, early).launches(launches, barriers)
            for copy in copies:
                _add_copy(context, graph, last, copy)
            self._handle = api.call("cuGraphInstantiate", graph, 0)
        finally:
            api.release("cuGraphDestroy", graph)

    def launch(self, stream: Any) -> None:
        api.call("cuGraphLaunch", self._handle, stream)

    def close(self) -> None:
        api.release("cuGraphExecDestroy", self._handle)


def graphs_of(
    context: Context,
    runs: Sequence[Sequence[Launch]],
    barriers: Sequence[bool],
    copies: Sequence[Copy],
    *,
    early: bool,
) -> list[ExecutableGraph]:
    """A graph each run of launches, to be launched in this order."""
    made: list[ExecutableGraph] = []
    try:
        for i, run in enumerate(runs):
            last = copies if i == len(runs) - 1 else ()
            made.append(ExecutableGraph(context, run, barriers, last, early=early))
    except BaseException:
        for graph in made:
            graph.close()
        raise
    return made


def seconds(context: Context, launches: Sequence[Launch], events: Sequence[Any]) -> list[float]:
    """What each launch takes by itself, one after the other; events: one more than launches. In a graph of its own, so
    that the host's pace does not show."""
    graph, handle = api.call("cuGraphCreate", 0), None
    try:
        last: list[Any] = []
        for launch, event in zip(launches, events, strict=False):
            last = [api.call("cuGraphAddEventRecordNode", graph, last, len(last), event)]
            last = [api.call("cuGraphAddKernelNode", graph, last, 1, launch.node_params)]
        api.call("cuGraphAddEventRecordNode", graph, last, len(last), events[-1])
        handle = api.call("cuGraphInstantiate", graph, 0)
        api.call("cuGraphLaunch", handle, context.stream)
        context.settle()
    finally:
        if handle is not None:
            api.release("cuGraphExecDestroy", handle)
        api.release("cuGraphDestroy", graph)
    return [1e-3 * api.call("cuEventElapsedTime", a, b) for a, b in pairwise(events)]


class _Builder:
    def __init__(self, context: Context, graph: Any, early: bool) -> None:
        self._graph = graph
        self._early = early and context.physical.capability >= (9, 0)
        self._many = _EVERY * context.physical.n_processors

    def launches(self, launches: Sequence[Launch], barriers: Sequence[bool]) -> list[Any]:
        """What stands between two barriers waits for all that stands between the two before. Returns the last ones."""
        before: list[Any] = []
        now: list[Any] = []
        node = -1
        for launch in launches:
            if now and any(barriers[node + 1 : launch.node + 1]):
                before, now = now, []
            node = launch.node
            now.append(self._add(launch, before))
        return now

    def _add(self, launch: Launch, before: Sequence[Any]) -> Any:
        if self._early and len(before) == 1:
            handle = api.call("cuGraphAddKernelNode", self._graph, [], 0, launch.node_params)
            port = _BEGUN if launch.kernel.asks_early and prod(launch.grid) >= self._many else _ENDING
            api.add_edge(self._graph, before[0], handle, port, _PROGRAMMATIC)
            return handle
        return api.call("cuGraphAddKernelNode", self._graph, list(before), len(before), launch.node_params)


def _add_copy(context: Context, graph: Any, after: Sequence[Any], copy: Copy) -> None:
    driver, params = api.driver(), api.driver().CUDA_MEMCPY3D()
    params.srcMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
    params.dstMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_HOST
    params.srcDevice, params.dstHost = copy.source, copy.target
    params.WidthInBytes, params.Height, params.Depth = copy.nbytes, 1, 1
    params.srcPitch, params.srcHeight = params.dstPitch, params.dstHeight = copy.nbytes, 1
    api.call("cuGraphAddMemcpyNode", graph, list(after), len(after), params, context.handle)
