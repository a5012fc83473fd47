"""A plan's nodes as dispatches over device memory: lowered, split where a weight exceeds the binding limit, bound."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from ...runtime.errors import BackendError
from ...runtime.graph import Node
from ...runtime.plan import Plan
from ...runtime.tensor import Storage, Tensor
from ...shaders.catalogue import lower, refusal
from ...shaders.kernel import Features, KernelCall
from .packing import packed_nbytes, packed_range
from .physical import Limits


@dataclass(frozen=True, eq=False)
class Step:
    """One dispatch. `starts` and `ranges` say what of each argument's storage its binding covers, in bytes."""

    node: int
    call: KernelCall
    starts: tuple[int, ...]
    ranges: tuple[int, ...]

    def push(self) -> bytes:
        starts = {t.storage: -start for t, start in zip(self.call.args, self.starts, strict=True)}
        return self.call.push_bytes(lambda storage: starts[storage])


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
    if not any(prod(t.shape) for t in node.outputs):
        return
    for part in _parts(node, limits.max_binding):
        if reason := refusal(part, features):
            raise BackendError(f"{node.name or node.op}: {reason}")
        call = lower(part, features)
        yield Step(index, call, *_bindings(node, call, limits))


def _parts(node: Node, limit: int) -> list[Node]:
    """The node, or nodes over runs of its weight's rows that fit a binding each."""
    if node.op != "mul_mat" or _nbytes(node.inputs[0]) <= limit:
        return [node]
    w, out = node.inputs[0], node.outputs[0]
    if w.ndim != 2:
        return [node]
    rows = max(1, _rows_within(w, limit))
    starts = range(0, w.shape[0], rows)
    cuts = [(lo, min(lo + rows, w.shape[0])) for lo in starts]
    return [_cut(node, w.slice(0, *c), out.slice(-1, *c)) for c in cuts]


def _cut(node: Node, w: Tensor, out: Tensor) -> Node:
    return replace(node, inputs=(w, *node.inputs[1:]), outputs=(out,))


def _rows_within(w: Tensor, limit: int) -> int:
    """Rows of a matrix whose bytes, and what aligning the binding adds, stay within the limit."""
    lo, hi = packed_range(w.slice(0, 0, 2)) if w.shape[0] > 1 else packed_range(w)
    one = packed_range(w.slice(0, 0, 1))
    step = (hi - lo) - (one[1] - one[0])
    return 1 + (limit - 256 - (one[1] - one[0])) // step if step else w.shape[0]


def _nbytes(t: Tensor) -> int:
    lo, hi = packed_range(t)
    return hi - lo


def _bindings(node: Node, call: KernelCall, limits: Limits) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Whole storages where the limit allows it; else the bytes that this call's arguments over the storage touch."""
    covered = {s: _covered(node, s, call, limits) for s in dict.fromkeys(t.storage for t in call.args)}
    return tuple(zip(*(covered[t.storage] for t in call.args), strict=True))  # type: ignore[return-value]


def _covered(node: Node, storage: Storage, call: KernelCall, limits: Limits) -> tuple[int, int]:
    """Start and length in bytes of the binding of a storage."""
    whole = packed_nbytes(storage)
    if whole <= limits.max_binding:
        return 0, whole
    touched = [packed_range(t) for t in call.args if t.storage is storage]
    start = min(lo for lo, _ in touched) // limits.alignment * limits.alignment
    end = min(whole, -(-max(hi for _, hi in touched) // 4) * 4)
    if end - start > limits.max_binding:
        raise BackendError(
            f"{node.name or node.op}: {storage.name}: [{node.op}] reads {end - start} bytes of it at once, "
            f"the device binds at most {limits.max_binding}"
        )
    return start, max(4, end - start)
