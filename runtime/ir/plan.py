"""Plan: a graph made ready to be recorded once and replayed. Knows no backend."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .alike import asked_once
from .arena import Arena, place
from .graph import Graph, Node
from .hazards import epochs
from .passes import lean
from .tensor import Kind, Storage, Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """Nodes in order, where their temporaries stand, and before which nodes a barrier must come.

    lowered: what a device makes of it first, where that was made beforehand, see Rules in backends/base.py.
    """

    graph: Graph
    arena: Arena
    barriers: tuple[bool, ...]
    lowered: object = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes

    @property
    def n_barriers(self) -> int:
        return sum(self.barriers)

    def between_barriers(self) -> Iterator[list[Node]]:
        """Nodes between two barriers each, which have no order among themselves."""
        starts = [i for i, barrier in enumerate(self.barriers) if barrier]
        return (list(self.nodes[a:b]) for a, b in pairwise((0, *starts, len(self.nodes))))

    def storages(self, kind: Kind) -> list[Storage]:
        """Every storage of a kind that the plan touches, each once, in order of first use."""
        tensors = (t for node in self.nodes for t in (*node.inputs, *node.outputs, *_decider(node)))
        return list(dict.fromkeys(t.storage for t in tensors if t.storage.kind is kind))


def _decider(node: Node) -> tuple[Tensor, ...]:
    return (node.branch.which,) if node.branch else ()


def lean_plan(graph: Graph, level: int, refusal: Callable[[Node], str]) -> Plan:
    """The graph made lean at an optimisation level, 0 to 3, and planned.

    refusal(node): empty where the backend has a kernel, as Device.supports answers. Below level 3 a barrier stands
    before every node.
    """
    refuses = asked_once(refusal)
    return make_plan(lean(graph, level, lambda node: not refuses(node)), every_barrier=level < 3)


def make_plan(graph: Graph, every_barrier: bool = False) -> Plan:
    """Lay out the arena, and place barriers where accesses conflict (or before every node).

    Temporaries that live between the same two barriers never share bytes, so that the arena asks for no barrier more.
    """
    numbers = list(range(len(graph.nodes))) if every_barrier else epochs(graph.nodes)
    barriers = tuple(i > 0 and numbers[i] != numbers[i - 1] for i in range(len(numbers)))
    return Plan(graph, place(graph, numbers), barriers)
