"""select and branch: decisions that do not change the topology, the way a constant graph wants it.

A `select` node takes one of two tensors by a number that a step brings along, so that one graph serves both. Where the
graph's `decided` names the side beforehand, its readers look at that tensor, and what only the other needed goes.
Otherwise both sides stand in the graph, and, once chains are fused, what only one of them needs becomes its branch: a
run dispatches the branch that the number takes (an indirect dispatch of zero for the other), and both write to one
place.
"""

from collections.abc import Iterator
from dataclasses import replace

from ..editing import Editing, Supports, drop_dead, is_temp
from ..graph import Branch, Graph, Node
from ..ops import OPS
from ..tensor import Kind, Tensor


def select(graph: Graph) -> Graph:
    """A graph without the selects that are decided beforehand."""
    edit = Editing(graph, lambda _node: True)
    for i, node in _selects(edit):
        if node.attrs["decision"] in graph.decided:
            _take(edit, i, node, graph.decided[node.attrs["decision"]])
    drop_dead(edit)
    return edit.finished()


def branch(graph: Graph, supports: Supports) -> Graph:
    """A graph without selects, but those of a device that cannot leave a dispatch out."""
    edit = Editing(graph, lambda _node: True)
    for i, node in _selects(edit):
        _branch(edit, i, node, supports)
    return edit.finished()


def _selects(edit: Editing) -> Iterator[tuple[int, Node]]:
    found = ((i, edit.at(i)) for i in range(len(edit)))
    return ((i, node) for i, node in found if node is not None and OPS[node.op].picks)


def _take(edit: Editing, i: int, node: Node, chosen: int) -> None:
    source, out = node.inputs[1 + chosen], node.outputs[0]
    if edit.is_written(source, i + 1, edit.last_use(out.storage) + 1):
        return  # the branch's memory is overwritten while the result is still read
    edit.remove(i)
    if not edit.substitute(out.storage, source):
        edit.put(i, node)


def _branch(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """The select becomes a copy of each side into its place; elide_copies lets the sides write there themselves."""
    which, *sources = node.inputs
    if which.storage.kind is not Kind.INPUT or edit.is_written(which, 0, i):
        return  # decided while the plan runs, after its dispatches were
    changed: dict[int, list[Node]] = {i: []}
    for side, source in enumerate(sources):
        runs = Branch(which, side)
        for j in _needed_only_for(edit, i, node, source):
            changed[j] = [replace(n, branch=runs) for n in edit.all_at(j)]
        (place,) = node.outputs
        changed[i].append(Node("cpy", (source, place), (place,), {}, f"{node.name}.{side}", runs))
    if all(map(supports, changed[i])):
        for j, nodes in changed.items():
            edit.put(j, *nodes)


def _needed_only_for(edit: Editing, i: int, node: Node, source: Tensor) -> list[int]:
    """Positions whose results are read for one side of the select at position i, and for nothing else."""
    if sum(t.storage is source.storage for t in node.inputs) != 1:
        return []
    found = {i}
    for j in reversed(range(i)):
        made = edit.at(j)
        if made is None or made.branch is not None or not all(_is_private(edit, t) for t in made.outputs):
            continue
        users = (at for t in made.outputs for at, _ in edit.users(t.storage) if at != j)
        touched = set(_while_in(found, users))
        for_select = i in touched and not any(t.storage is source.storage for t in made.outputs)
        if touched and touched <= found and not for_select:
            found.add(j)
    return sorted(found - {i})


def _while_in(found: set[int], users: Iterator[int]) -> Iterator[int]:
    """With the first that is not found, which says enough."""
    for at in users:
        yield at
        if at not in found:
            return


def _is_private(edit: Editing, t: Tensor) -> bool:
    return is_temp(t) and not edit.is_output(t.storage)
