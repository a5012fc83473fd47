"""Patterns: what a fusion looks for around a node, and the nodes that it makes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .editing import Editing, is_temp
from .graph import Node
from .ops import OPS, Spec
from .tensor import Kind, Storage, Tensor


@dataclass(frozen=True)
class Fusion:
    """How a fused op comes about, declared beside it.

    rule(edit, position, node), for each node of the op `start`: looks at the node and its neighbours, builds the fused
    node, asks whether there is a kernel for it, and only then changes anything.
    """

    start: str
    rule: Callable[[Editing, int, Node], None]


def make(op: str, inputs: Sequence[Tensor], name: str, outputs: Sequence[Tensor | None] = (), **attrs: object) -> Node:
    """A node of an op: given outputs are taken over, the others are new."""
    attrs = OPS[op].chosen(attrs)
    outs = OPS[op].infer(*inputs, **attrs)
    given = [*outputs, *[None] * (len(outs) - len(outputs))]
    made = [_output(f"{name}.{op}", spec, old) for spec, old in zip(outs, given, strict=True)]
    return Node(op, tuple(inputs), tuple(made), attrs, f"{name}.{op}")


def _output(name: str, spec: Spec | Tensor, given: Tensor | None) -> Tensor:
    if isinstance(spec, Tensor):
        return spec
    return given or Storage(name, Kind.TEMP, spec.dtype, spec.shape).tensor()


def scope_of(node: Node) -> str:
    """A node's name without its op."""
    return node.name.removesuffix(f".{node.op}")


def stands(edit: Editing, i: int, node: Node) -> bool:
    """Is the node still alone at its position?"""
    return edit.at(i) is node


def maker(edit: Editing, t: Tensor, op: str, before: int) -> tuple[int, Node] | None:
    """The node of an op that alone makes all of the temporary that t shows in order."""
    in_order = t.layout.is_contiguous and t.layout.n_elements == t.storage.n_elements
    return sole_maker(edit, t, op, before) if in_order else None


def sole_maker(edit: Editing, t: Tensor, op: str, before: int) -> tuple[int, Node] | None:
    """The node of an op that alone makes the temporary of which t is a view."""
    if not is_temp(t):
        return None
    made = [(j, n) for j, n in edit.users(t.storage, 0, before) if any(o.storage is t.storage for o in n.outputs)]
    alone = len(made) == 1 and made[0][1].op == op and stands(edit, *made[0])
    return made[0] if alone else None


def readers(edit: Editing, t: Tensor, i: int) -> list[tuple[int, Node]]:
    """The nodes after position i that read any of t's storage."""
    return [(j, n) for j, n in edit.users(t.storage, i + 1) if any(x.storage is t.storage for x in n.inputs)]


def only_reader(edit: Editing, t: Tensor, i: int, op: str) -> tuple[int, Node] | None:
    """The single node that reads what position i makes, when it is of an op and the graph does not give it out."""
    found = readers(edit, t, i)
    alone = len(found) == 1 and found[0][1].op == op and not edit.is_output(t.storage)
    return found[0] if alone and stands(edit, *found[0]) else None


def last_write(edit: Editing, t: Tensor, op: str, before: int) -> tuple[int, Node] | None:
    """The last node of an op before a position that touches t's storage."""
    found = [(j, n) for j, n in edit.users(t.storage, 0, before) if n.op == op]
    return found[-1] if found and stands(edit, *found[-1]) else None


def is_untouched(edit: Editing, s: Storage, start: int, stop: int) -> bool:
    return not any(True for _ in edit.users(s, start + 1, stop))


def can_wait(edit: Editing, at: int, i: int, node: Node, outs: Sequence[Tensor]) -> bool:
    """Could the node at `at` as well stand at i, with these outputs?"""
    read = any(edit.is_read(t, at + 1, i) for t in outs)
    return not read and not any(edit.is_written(t, at + 1, i) for t in node.inputs)


def can_come(edit: Editing, at: int, i: int, node: Node) -> bool:
    """Could the node at i as well stand at `at`, but for what is made there?"""
    read = any(edit.is_read(t, at + 1, i) for t in node.outputs)
    return not read and not any(edit.is_written(t, at + 1, i) for t in (*node.inputs, *node.outputs))
