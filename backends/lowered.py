"""A plan's nodes as calls of kernels, for hosts that bind whole storages."""

from dataclasses import dataclass

from ..runtime.ir.graph import Branch
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


def dispatches_of(plan: Plan, features: Features) -> list[Dispatch]:
    """BackendError names the first node that the device cannot run."""
    calls = zip(plan.nodes, lower_all(plan.nodes, features), strict=True)
    return [Dispatch(i, call, node.branch) for i, (node, call) in enumerate(calls) if call]
