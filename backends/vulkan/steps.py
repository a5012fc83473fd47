"""A plan's nodes as dispatches over device memory: lowered, split where a weight exceeds the binding limit, bound."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...runtime.errors import BackendError
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Storage, Tensor
from ...shaders.catalogue import lower, refusal
from ...shaders.kernel import Features, KernelCall
from ..packing import argument_bytes, is_idle, packed_nbytes, packed_range
from .physical import Limits


@dataclass(frozen=True, eq=False)
class Step:
    """One dispatch: of a plan's node by number, all of it or the `part` that one dispatch can bind.

    `starts` and `ranges` say what of each buffer's storage its binding covers, in bytes.
    """

    node: int
    part: Node
    call: KernelCall
    starts: tuple[int, ...]
    ranges: tuple[int, ...]

    def push(self) -> bytes:
        starts = {t.storage: -start for t, start in zip(self.call.buffers, self.starts, strict=True)}
        return argument_bytes(self.call, starts.__getitem__)


def steps_of(plan: Plan, features: Features, limits: Limits) -> list[Step]:
    """BackendError names the first node that the device cannot run."""
    return [step for i, node in enumerate(plan.nodes) for step in _steps(i, node, features, limits)]


def problem(node: Node, features: Features, limits: Limits) -> str:
    """Empty when the device can run the node; otherwise why not, in a line."""
    if reason := refusal(node, features):
        return reason
    try:
        list(_steps(0, node, features, limits))
    except BackendError as error:
        return str(error)
    return ""


def _steps(index: int, node: Node, features: Features, limits: Limits) -> Iterator[Step]:
    if is_idle(node):
        return
    for part in _parts(node, limits):
        if reason := refusal(part, features):
            raise BackendError(f"{node.name or node.op}: {reason}")
        call = lower(part, features)
        yield Step(index, part, call, *bindings(node, call, limits))


def _parts(node: Node, limits: Limits) -> list[Node]:
    """The node itself, or a product in halves, and those in halves, until each binds what the device can bind."""
    axes = _axes_to_cut(node, limits)
    if not axes:
        return [node]
    which, axis = axes[0]
    n = node.inputs[which].shape[axis]
    halves = (0, n // 2), (n // 2, n)
    return [part for lo, hi in halves for part in _parts(_cut(node, which, axis, lo, hi), limits)]


def _axes_to_cut(node: Node, limits: Limits) -> list[tuple[int, int]]:
    """(input, axis) along which to halve a mul_mat: the outermost of an oversized w, or the rows of x."""
    if node.op != "mul_mat":
        return []
    (w, x), (out,) = node.inputs, node.outputs
    if not _fits(w, limits):
        return [(0, a - w.ndim) for a in range(w.ndim - 1) if w.shape[a] > 1]
    return [] if (_fits(x, limits) and _fits(out, limits)) or x.shape[-2] < 2 else [(1, -2)]


def _fits(t: Tensor, limits: Limits) -> bool:
    """Whether a binding holds the storage, or else what the tensor touches and what aligning its start adds."""
    lo, hi = packed_range(t)
    return min(packed_nbytes(t.storage), hi - lo // limits.alignment * limits.alignment) <= limits.max_binding


def _cut(node: Node, which: int, axis: int, lo: int, hi: int) -> Node:
    """A mul_mat over [lo, hi) of an axis of w (rows; or batch entries, which x and out may repeat) or of x's rows."""
    (w, x), (out,) = node.inputs, node.outputs
    if which == 1:
        return replace(node, inputs=(w, x.slice(axis, lo, hi)), outputs=(out.slice(axis, lo, hi),))
    if axis == -2:
        return replace(node, inputs=(w.slice(axis, lo, hi), x), outputs=(out.slice(-1, lo, hi),))
    r = x.shape[axis] // w.shape[axis]
    inputs = w.slice(axis, lo, hi), x.slice(axis, lo * r, hi * r)
    return replace(node, inputs=inputs, outputs=(out.slice(axis, lo * r, hi * r),))


def bindings(node: Node, call: KernelCall, limits: Limits) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`starts` and `ranges` of a call: whole storages where the limit allows it; else the bytes that this call's
    tensors over the storage touch."""
    covered = {s: _covered(node, s, call, limits) for s in dict.fromkeys(t.storage for t in call.buffers)}
    return tuple(zip(*(covered[t.storage] for t in call.buffers), strict=True))  # type: ignore[return-value]


def _covered(node: Node, storage: Storage, call: KernelCall, limits: Limits) -> tuple[int, int]:
    """Start and length in bytes of the binding of a storage."""
    whole = packed_nbytes(storage)
    if whole <= limits.max_binding:
        return 0, whole
    touched = [packed_range(t) for t in call.buffers if t.storage is storage]
    start = min(lo for lo, _ in touched) // limits.alignment * limits.alignment
    end = min(whole, -(-max(hi for _, hi in touched) // 4) * 4)
    if end - start > limits.max_binding:
        raise BackendError(
            f"{node.name or node.op}: {storage.name}: [{node.op}] reads {end - start} bytes of it at once, "
            f"the device binds at most {limits.max_binding}"
        )
    return start, max(4, end - start)
