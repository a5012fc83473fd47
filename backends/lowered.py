"""A plan's nodes as calls of kernels, for hosts that bind whole storages."""

from dataclasses import dataclass

from ..runtime.errors import BackendError
from ..runtime.ir.graph import Branch, Node
from ..runtime.ir.plan import Plan
from ..runtime.ir.tensor import Storage
from ..shaders.catalogue import lower, refusal
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
    listed = [_dispatch(i, node, features) for i, node in enumerate(plan.nodes)]
    return [dispatch for dispatch in listed if dispatch]


def _dispatch(index: int, node: Node, features: Features) -> Dispatch | None:
    if reason := refusal(node, features):
        raise BackendError(f"{node.name or node.op}: {reason}")
    call = lower(node, features)
    return Dispatch(index, call, node.branch) if call else None
