"""A plan's nodes as dispatches over device memory: lowered, split where a weight exceeds the binding limit, bound."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ...runtime.errors import BackendError
from ...runtime.ir.cuts import halves, outermost_cut
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Storage, Tensor
from ...shaders.catalogue import lower_all, refusal
from ...shaders.interface import OrderedCall, of_spirv
from ...shaders.kernel import Features, KernelCall
from ..lowered import Lowered, made_before
from ..packing import argument_bytes, packed_nbytes, packed_range
from .physical import Limits


@dataclass(frozen=True, eq=False)
class Dispatch:
    """One dispatch: of a plan's node by number, all of it or the `part` that one dispatch can bind.

    `covered` says what of each storage its binding covers: start and length in bytes.
    """

    node: int
    part: Node
    call: KernelCall
    covered: Mapping[Storage, tuple[int, int]]

    @cached_property
    def ordered(self) -> OrderedCall:
        """As the shader declares it, once its pipeline is there."""
        return of_spirv(self.call.stem, self.call.defines).order(self.call)

    def push(self) -> bytes:
        return argument_bytes(self.ordered, lambda storage: -self.covered[storage][0])


def dispatches_of(plan: Plan, features: Features, limits: Limits) -> list[Dispatch]:
    """BackendError names the first node that the device cannot run."""
    return made_before(plan, features, limits) or _dispatches(plan.nodes, features, limits)


def lower(plan: Plan, features: Features, limits: Limits) -> Lowered:
    return Lowered(plan.graph, (features, limits), dispatches_of(plan, features, limits))


def problem(node: Node, features: Features, limits: Limits) -> str:
    """Empty when the device can run the node; otherwise why not, in a line."""
    if reason := refusal(node, features):
        return reason
    try:
        _dispatches([node], features, limits)
    except BackendError as error:
        return str(error)
    return ""


def _dispatches(nodes: Iterable[Node], features: Features, limits: Limits) -> list[Dispatch]:
    parts = [(i, part) for i, node in enumerate(nodes) for part in _parts(node, limits)]
    calls = zip(parts, lower_all((part for _, part in parts), features), strict=True)
    return [Dispatch(i, part, call, covered(part, call, limits)) for (i, part), call in calls if call]


def _parts(node: Node, limits: Limits) -> list[Node]:
    """The node itself, or its halves, and those in halves, until each binds what the device can bind."""
    large = (t for t in (*node.inputs, *node.outputs) if not _fits(t, limits))
    cut = next((c for t in large if (c := outermost_cut(node, t))), None)
    return [part for half in halves(node, cut) for part in _parts(half, limits)] if cut else [node]


def _fits(t: Tensor, limits: Limits) -> bool:
    """Whether a binding holds the storage, or else what the tensor touches and what aligning its start adds."""
    lo, hi = packed_range(t)
    return min(packed_nbytes(t.storage), hi - lo // limits.alignment * limits.alignment) <= limits.max_binding


def covered(node: Node, call: KernelCall, limits: Limits) -> dict[Storage, tuple[int, int]]:
    """`covered` of a call: whole storages where the limit allows it; else the bytes that this call's tensors over the
    storage touch."""
    return {s: _covered(node, s, call, limits) for s in dict.fromkeys(t.storage for t in call.buffers.values())}


def _covered(node: Node, storage: Storage, call: KernelCall, limits: Limits) -> tuple[int, int]:
    """Start and length in bytes of the binding of a storage."""
    whole = packed_nbytes(storage)
    if whole <= limits.max_binding:
        return 0, whole
    touched = [packed_range(t) for t in call.buffers.values() if t.storage is storage]
    start = min(lo for lo, _ in touched) // limits.alignment * limits.alignment
    end = min(whole, -(-max(hi for _, hi in touched) // 4) * 4)
    if end - start > limits.max_binding:
        raise BackendError(
            f"{node.name or node.op}: {storage.name}: [{node.op}] reads {end - start} bytes of it at once, "
            f"the device binds at most {limits.max_binding}"
        )
    return start, max(4, end - start)
