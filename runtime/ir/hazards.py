"""Hazards: which accesses to memory must stay in order. Only views of one storage can conflict, where they overlap."""

from collections.abc import Iterable, Sequence

from .graph import Node
from .tensor import Storage, Tensor


class Hazards:
    """Accesses so far; a node conflicts with them when it reads what was written, or writes what was touched."""

    def __init__(self) -> None:
        self._reads: dict[Storage, list[Tensor]] = {}
        self._writes: dict[Storage, list[Tensor]] = {}

    def add(self, node: Node) -> None:
        for tensors, seen in ((node.inputs, self._reads), (node.outputs, self._writes)):
            for t in tensors:
                seen.setdefault(t.storage, []).append(t)

    def conflicts(self, node: Node) -> bool:
        touched = (*node.inputs, *node.outputs)
        return _hit(touched, self._writes) or _hit(node.outputs, self._reads)


def epochs(nodes: Sequence[Node]) -> list[int]:
    """For each node the number of barriers before it: one comes wherever a node conflicts with those since the last."""
    numbers, seen, epoch = [], Hazards(), 0
    for node in nodes:
        if seen.conflicts(node):
            seen, epoch = Hazards(), epoch + 1
        seen.add(node)
        numbers.append(epoch)
    return numbers


def _hit(tensors: Iterable[Tensor], seen: dict[Storage, list[Tensor]]) -> bool:
    for t in tensors:
        if (found := seen.get(t.storage)) and any(t.layout.overlaps(other.layout) for other in found):
            return True
    return False
