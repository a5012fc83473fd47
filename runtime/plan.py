"""Plan: a graph made ready to be recorded once and replayed. Knows no backend."""

from collections.abc import Iterable
from dataclasses import dataclass

from .arena import Arena, place
from .graph import Graph, Node
from .tensor import Kind, Storage, Tensor

Range = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Plan:
    """Nodes in order, where their temporaries stand, and before which nodes a barrier must come."""

    graph: Graph
    arena: Arena
    barriers: tuple[bool, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes

    @property
    def n_barriers(self) -> int:
        return sum(self.barriers)

    def storages(self, kind: Kind) -> list[Storage]:
        """Every storage of a kind that the plan touches, each once, in order of first use."""
        tensors = (t for node in self.nodes for t in (*node.inputs, *node.outputs))
        return list(dict.fromkeys(t.storage for t in tensors if t.storage.kind is kind))


def make_plan(graph: Graph, every_barrier: bool = False) -> Plan:
    """Lay out the arena, and place barriers where byte ranges conflict (or before every node)."""
    arena = place(graph)
    n = len(graph.nodes)
    barriers = (False, *[True] * (n - 1))[:n] if every_barrier else tuple(_barriers(graph.nodes, arena))
    return Plan(graph, arena, barriers)


def _barriers(nodes: Iterable[Node], arena: Arena) -> Iterable[bool]:
    """A barrier comes before a node that reads what was written since the last one, or writes what was touched."""
    hazards = Hazards(arena)
    for node in nodes:
        conflict = hazards.conflicts(node)
        if conflict:
            hazards.clear()
        hazards.add(node)
        yield conflict


class Hazards:
    """The accesses since the last barrier, by the memory they touch."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.clear()

    def clear(self) -> None:
        self._reads: dict[object, list[Tensor]] = {}
        self._writes: dict[object, list[Tensor]] = {}

    def conflicts(self, node: Node) -> bool:
        return any(self._hit(t, self._writes) for t in (*node.inputs, *node.outputs)) or any(
            self._hit(t, self._reads) for t in node.outputs
        )

    def add(self, node: Node) -> None:
        for tensors, seen in ((node.inputs, self._reads), (node.outputs, self._writes)):
            for t in tensors:
                seen.setdefault(self._memory(t), []).append(t)

    def _memory(self, t: Tensor) -> object:
        return "arena" if t.storage.kind is Kind.TEMP else t.storage

    def _hit(self, t: Tensor, seen: dict[object, list[Tensor]]) -> bool:
        return any(self._touch(t, other) for other in seen.get(self._memory(t), ()))

    def _touch(self, a: Tensor, b: Tensor) -> bool:
        if a.storage is b.storage:
            return a.layout.overlaps(b.layout)
        (lo, hi), (lo2, hi2) = self._bytes(a), self._bytes(b)
        return lo < hi2 and lo2 < hi

    def _bytes(self, t: Tensor) -> Range:
        lo, hi = t.layout.span
        at = self._arena.offsets[t.storage]
        return at + t.dtype.nbytes(lo), at + t.dtype.nbytes(hi)
