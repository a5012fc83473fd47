"""Editing: a graph's nodes while a pass works on them, with an index of who touches which storage."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

from .graph import Graph, Node
from .layout import Layout
from .tensor import Kind, Storage, Tensor

Supports = Callable[[Node], bool]


class Editing:
    """Nodes by position; a removed one leaves a hole, so that positions stay. The graph itself is not changed."""

    def __init__(self, graph: Graph, supports: Supports) -> None:
        self._graph, self.supports = graph, supports
        self._at: list[list[Node]] = [[n] for n in graph.nodes]
        self.outputs = dict(graph.outputs)
        self._holds_several = False
        self._users: dict[Storage, list[int]] = {}  # positions, ascending
        for i, node in enumerate(graph.nodes):
            self._index(i, node)

    def __len__(self) -> int:
        return len(self._at)

    def at(self, i: int) -> Node | None:
        """The node at a position; None where it was removed or made several."""
        return self._at[i][0] if len(self._at[i]) == 1 else None

    def positions_of(self, op: str) -> list[int]:
        """Where nodes of an op stand alone."""
        return [i for i, nodes in enumerate(self._at) if len(nodes) == 1 and nodes[0].op == op]

    def all_at(self, i: int) -> list[Node]:
        return list(self._at[i])

    def finished(self) -> Graph:
        return self._graph.replaced((n for nodes in self._at for n in nodes), self.outputs)

    def spread(self) -> "Editing":
        """With a position for each node, where one holds several."""
        return Editing(self.finished(), self.supports) if self._holds_several else self

    def put(self, i: int, *nodes: Node) -> None:
        """Replace what stands at a position."""
        self._holds_several |= len(nodes) > 1
        self._at[i] = list(nodes)
        for node in nodes:
            self._index(i, node)

    def remove(self, i: int) -> None:
        self._at[i] = []

    def users(self, s: Storage, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Node]]:
        """Nodes at positions [start, stop) that touch a storage."""
        found = self._users.get(s, ())
        stop = len(self) if stop is None else stop
        for i in found[bisect_left(found, start) : bisect_left(found, stop)]:
            for n in self._at[i]:
                if _touches(n, s):
                    yield i, n

    def writers(self, t: Tensor, start: int, stop: int | None = None) -> Iterator[int]:
        """Positions in [start, stop) where something is written over t."""
        return (i for i, n in self.users(t.storage, start, stop) if any(t.overlaps(o) for o in n.outputs))

    def is_written(self, t: Tensor, start: int, stop: int | None = None) -> bool:
        return any(True for _ in self.writers(t, start, stop))

    def is_read(self, t: Tensor, start: int, stop: int | None = None) -> bool:
        """Does anything at positions [start, stop) read elements of t?"""
        return any(t.overlaps(x) for _, n in self.users(t.storage, start, stop) for x in n.inputs)

    def last_use(self, s: Storage) -> int:
        """The last position that reads a storage; the graph's end for an output."""
        if self.is_output(s):
            return len(self)
        return max((i for i, n in self.users(s) if any(t.storage is s for t in n.inputs)), default=-1)

    def is_output(self, s: Storage) -> bool:
        return any(t.storage is s for t in self.outputs.values())

    def substitute(self, s: Storage, by: Tensor, also: Callable[[Node], bool] = lambda _: True) -> bool:
        """Let every view of a temporary look at `by` instead, where a layout can say it and the kernels take it.

        `by` holds the storage's elements in order. All or nothing; answers whether it was done.
        """
        changed: dict[int, list[Node]] = {}
        for i in self._users.get(s, ()):
            for node in self._at[i]:
                new = _rebased(node, s, by)
                if new is None or (new is not node and not (self.supports(new) and also(new))):
                    return False
                changed.setdefault(i, []).append(new)
        outputs = {name: _through(t, s, by) for name, t in self.outputs.items()}
        if None in outputs.values():
            return False
        self.outputs = {name: t for name, t in outputs.items() if t is not None}
        for i, nodes in changed.items():
            self.put(i, *nodes)
        return True

    def _index(self, i: int, node: Node) -> None:
        users = self._users
        for t in (*node.inputs, *node.outputs):
            found = users.get(t.storage)
            if found is None:
                users[t.storage] = [i]
            elif found[-1] < i:
                found.append(i)
            elif found[at := bisect_left(found, i)] != i:
                found.insert(at, i)


def _touches(node: Node, s: Storage) -> bool:
    for t in node.inputs:
        if t.storage is s:
            return True
    return any(t.storage is s for t in node.outputs)


def drop_dead(edit: Editing) -> None:
    """Remove the nodes whose results nobody reads."""
    read = {t.storage for t in edit.outputs.values()}  # behind the position
    for i in reversed(range(len(edit))):
        node = edit.at(i)
        if node is not None and all(is_temp(t) and t.storage not in read for t in node.outputs):
            edit.remove(i)
        else:
            read.update(t.storage for n in edit.all_at(i) for t in n.inputs)


def whole(t: Tensor) -> bool:
    """Is the tensor all of its storage, in order?"""
    return t.layout.is_contiguous and t.layout.n_elements == t.storage.n_elements


def is_temp(t: Tensor) -> bool:
    return t.storage.kind is Kind.TEMP


def is_same(a: Tensor, b: Tensor) -> bool:
    """Do both show the same elements in the same order?"""
    return a.storage is b.storage and a.layout == b.layout


def view(t: Tensor, layout: Layout) -> Tensor:
    return Tensor(t.dtype, layout, t.storage)


def _through(t: Tensor, s: Storage, by: Tensor) -> Tensor | None:
    if t.storage is not s:
        return t
    layout = by.layout.through(t.layout) if t.dtype is by.dtype else None
    return None if layout is None else view(by, layout)


def _rebased(node: Node, s: Storage, by: Tensor) -> Node | None:
    """The node with its views of s moved to `by`; None when one has no layout there."""
    if not _touches(node, s):
        return node
    ins, outs = ([_through(t, s, by) for t in ts] for ts in (node.inputs, node.outputs))
    if None in ins or None in outs:
        return None
    return replace(node, inputs=tuple(t for t in ins if t), outputs=tuple(t for t in outs if t))
