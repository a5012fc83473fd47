"""What is drawn: a plan's nodes as boxes, with who feeds whom."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.counts import counts_of, is_copy
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, OpKind
from ..ir.passes import decompose
from ..ir.plan import Plan
from ..ir.tensor import Kind, Storage, Tensor
from ..ir.traffic import Traffic, traffic


@dataclass(frozen=True)
class Box:
    """A node: `feeds_on` are the indices of the boxes whose output it reads; n_parts: primitives it stands for."""

    index: int
    op: str
    name: str
    kind: OpKind
    weight: str
    shape: tuple[int, ...]
    n_parts: int
    moved: Traffic
    feeds_on: tuple[int, ...]

    @property
    def layer(self) -> int | None:
        """The number in `blk.3.`; None outside of the layers."""
        head, _, rest = self.name.partition(".")
        number = rest.partition(".")[0]
        return int(number) if head == "blk" and number.isdecimal() else None


@dataclass(frozen=True)
class Side:
    """A plan at one level: its boxes in order, and its counts."""

    opt: int
    boxes: tuple[Box, ...]
    counts: dict[str, int]

    def layer(self, number: int) -> list[Box]:
        return [b for b in self.boxes if b.layer == number]


@dataclass(frozen=True)
class Picture:
    """A step before and after the passes; `shown`: a layer of each sort, with the sort's name."""

    model: str
    n_tokens: int
    n_seqs: int
    n_kv: int
    before: Side
    after: Side

    @property
    def shown(self) -> list[tuple[int, str]]:
        """The first layer of each sort, by the ops that stand for one (or of which its parts have their names)."""
        found: dict[str, int] = {}
        for box in self.before.boxes:
            for op in (OPS[part] for part in box.name.split(".") if part in OPS):
                if box.layer is not None and op.layer:
                    found.setdefault(op.layer, box.layer)
        return sorted((layer, sort) for sort, layer in found.items())


def side(plan: Plan, opt: int) -> Side:
    feeds = _feeds(plan.nodes)
    boxes = tuple(_box(i, node, feeds[i]) for i, node in enumerate(plan.nodes))
    return Side(opt, boxes, counts_of(plan))


def _box(i: int, node: Node, feeds_on: tuple[int, ...]) -> Box:
    weight = next((t.storage.name for t in node.inputs if t.storage.kind is Kind.WEIGHT), "")
    shape = node.outputs[0].shape if node.outputs else ()
    return Box(i, node.op, node.name, _kind(node), weight, shape, _n_parts(node), traffic(node), feeds_on)


def _kind(node: Node) -> OpKind:
    """Its op's, but for a lookup in a weight, which is no copy of anything."""
    kind = OPS[node.op].kind
    return OpKind.PLAIN if kind is OpKind.COPY and not is_copy(node) else kind


def _n_parts(node: Node) -> int:
    """How many primitives do the node's work where no kernel takes it as a whole."""
    return len(decompose(Graph([node]), lambda _: False).nodes)


def _feeds(nodes: Sequence[Node]) -> list[tuple[int, ...]]:
    """For each node those that wrote what it reads: of each place the last that did."""
    writers: dict[Storage, list[tuple[int, Tensor]]] = defaultdict(list)
    found = []
    for i, node in enumerate(nodes):
        found.append(tuple(sorted({j for t in node.inputs for j in _last_writers(writers[t.storage], t)})))
        for t in node.outputs:
            writers[t.storage].append((i, t))
    return found


def _last_writers(writers: Sequence[tuple[int, Tensor]], t: Tensor) -> list[int]:
    """Back to a write that covers all of the storage."""
    hits = []
    for j, out in reversed(writers):
        if t.layout.overlaps(out.layout):
            hits.append(j)
            if out.layout.n_elements >= t.storage.n_elements:
                break
    return hits
