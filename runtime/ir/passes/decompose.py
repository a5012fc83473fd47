"""decompose: composites that the backend has no kernel for become primitives."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ..editing import whole
from ..graph import Graph, Node
from ..ops import OPS
from ..tensor import Storage, Tensor

Keep = Callable[[Node], bool]


def decompose(graph: Graph, keep: Keep) -> Graph:
    """A graph in which every composite that `keep` does not hold on to is decomposed, down to primitives."""
    return graph.replaced(_expand(graph.nodes, keep))


def _expand(nodes: Iterable[Node], keep: Keep) -> Iterator[Node]:
    for node in nodes:
        rule = OPS[node.op].decompose
        if rule is None or keep(node):
            yield node
        else:
            yield from _expand(_parts(node), keep)


def _parts(node: Node) -> Iterator[Node]:
    """The nodes that stand for a composite, the last ones writing into the composite's own outputs."""
    g = Graph()
    with g.scope(node.name or node.op):
        outs = OPS[node.op].decompose(g, *node.inputs, **node.attrs)  # pyright: ignore[reportOptionalCall]
        renamed: dict[Storage, Storage] = {}
        for made, wanted in zip(outs, node.outputs, strict=True):
            if made.storage is wanted.storage:
                continue
            if whole(wanted):
                renamed[_whole(made, g)] = wanted.storage
            else:
                g.cpy(made, wanted)
    for part in g.nodes:
        ins, made = ([_rename(t, renamed) for t in ts] for ts in (part.inputs, part.outputs))
        yield replace(part, inputs=tuple(ins), outputs=tuple(made), branch=node.branch)


def _whole(made: Tensor, g: Graph) -> Storage:
    """The storage that holds just this result, in order; a copy of it where the result is something else."""
    return (made if whole(made) else g.contiguous(made)).storage


def _rename(t: Tensor, renamed: dict[Storage, Storage]) -> Tensor:
    return Tensor(t.dtype, t.layout, renamed[t.storage]) if t.storage in renamed else t
