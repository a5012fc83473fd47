"""A plan's nodes as calls of kernels, for hosts that bind whole storages."""

from dataclasses import dataclass
from typing import Any

from ..runtime.ir.graph import Branch, Graph
from ..runtime.ir.plan import Plan
from ..runtime.ir.tensor import Storage
from ..shaders.catalogue import lower_all
from ..shaders.kernel import Features, KernelCall


@dataclass(frozen=True, eq=False)
class Dispatch:
    """A kernel's call for the plan's node of that number."""

    node: int
    call: KernelCall
    branch: Branch | None

    @property
    def storages(self) -> tuple[Storage, ...]:
        decider = (self.branch.which,) if self.branch else ()
        return tuple(t.storage for t in (*self.call.buffers.values(), *decider))


@dataclass(frozen=True, eq=False)
class Lowered:
    """Dispatches of a graph, and by which facts of a device they were chosen."""

    graph: Graph
    facts: tuple[object, ...]
    dispatches: list[Any]


def made_before(plan: Plan, *facts: object) -> list[Any] | None:
    """The dispatches that came with a plan, where these are its graph's and such a device's."""
    lowered = plan.lowered
    if not isinstance(lowered, Lowered) or lowered.graph is not plan.graph or lowered.facts != facts:
        return None
    return lowered.dispatches


def lower(plan: Plan, features: Features) -> Lowered:
    return Lowered(plan.graph, (features,), dispatches_of(plan, features))


def dispatches_of(plan: Plan, features: Features) -> list[Dispatch]:
    """BackendError names the first node that the device cannot run."""
    if found := made_before(plan, features):
        return found
    calls = zip(plan.nodes, lower_all(plan.nodes, features), strict=True)
    return [Dispatch(i, call, node.branch) for i, (node, call) in enumerate(calls) if call]
