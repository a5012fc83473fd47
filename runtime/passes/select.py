"""select: branches that are decided at planning go.

A `select` node takes one of two tensors by a number that a step brings along, so that one graph serves both. Where the
graph's `choices` name the branch beforehand, its readers look at that tensor, and what only the other needed goes.
"""

from ..graph import Graph, Node
from .editing import Editing, drop_dead


def select(graph: Graph) -> Graph:
    """A graph without the selects whose choice is known."""
    edit = Editing(graph, lambda _node: True)
    for i in range(len(edit)):
        node = edit.at(i)
        if node is not None and node.op == "select" and node.attrs["choice"] in graph.choices:
            _take(edit, i, node, graph.choices[node.attrs["choice"]])
    drop_dead(edit)
    return edit.finished()


def _take(edit: Editing, i: int, node: Node, chosen: int) -> None:
    source, out = node.inputs[1 + chosen], node.outputs[0]
    if any(edit.writers(source, i + 1, edit.last_use(out.storage) + 1)):
        return  # the branch's memory is overwritten while the result is still read
    edit.remove(i)
    if not edit.substitute(out.storage, source):
        edit.put(i, node)
