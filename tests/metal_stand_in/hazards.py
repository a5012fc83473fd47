"""A program's hazards, held against what its encoders recorded: by the bytes that each node touches in real memory,
whatever the plan's own reckoning says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product

from vkrun.backends.lowered import Dispatch
from vkrun.backends.metal.program import MetalProgram
from vkrun.backends.packing import packed_range
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.plan import Plan
from vkrun.runtime.ir.tensor import Tensor
from vkrun.shaders.interface import of_text

from . import commands
from .commands import CommandBuffer, ComputeEncoder
from .queue import groups_of


@dataclass(frozen=True, eq=False)
class Done:
    """A dispatch that was recorded, the one that was meant, and its node."""

    recorded: commands.Dispatch
    meant: Dispatch
    node: Node


class Hazards:
    def __init__(self, program: MetalProgram, plan: Plan) -> None:
        self._spot, self._dispatches, self._nodes = program._spot, program._dispatches, plan.nodes
        self._decides = bool(program._deciders)

    def faults(self, ran: Sequence[CommandBuffer]) -> list[str]:
        """Of one run: barriers that are missing or needless, and buffers other than the meant."""
        encoders, left, found = [e for buffer in ran for e in buffer.encoders], list(self._dispatches), []
        for encoder in encoders[self._decides :]:  # the grids of branches are decided by an encoder of their own
            groups = list(self._done(encoder, left))
            found += [f"{d.node}: bound elsewhere" for group in groups for d in group if not self._is_meant(d)]
            for group in groups:
                pairs = combinations(group, 2)
                found += [f"no barrier before {b.node}, after {a.node}" for a, b in pairs if self._conflict(a, b)]
            for before, after in pairwise(groups):
                if not any(self._conflict(a, b) for a, b in product(before, after)):
                    found.append(f"needless barrier before {after[0].node}")
        return found + [f"{d.call.stem}: never dispatched" for d in left]

    def _done(self, encoder: ComputeEncoder, left: list[Dispatch]) -> Iterator[list[Done]]:
        for group in groups_of(encoder):
            meant = [left.pop(0) for _ in group]
            yield [Done(r, m, self._nodes[m.node]) for r, m in zip(group, meant, strict=True)]

    def _is_meant(self, done: Done) -> bool:
        call = done.meant.call
        ordered = of_text(call.stem, call.defines).order(call)
        bound = [(b[0](), b[1]) for b in done.recorded.bound if not isinstance(b, bytes)]
        return bound[: len(ordered.buffers)] == [self._spot(t.storage) for t in ordered.buffers]

    def _conflict(self, a: Done, b: Done) -> bool:
        written, read = (
            product(a.node.outputs, (*b.node.inputs, *b.node.outputs)),
            product(a.node.inputs, b.node.outputs),
        )
        return any(self._overlap(x, y) for x, y in (*written, *read))

    def _overlap(self, x: Tensor, y: Tensor) -> bool:
        """Views of one storage by their layouts, others by where they stand."""
        if x.storage is y.storage:
            return x.layout.overlaps(y.layout)
        (one, start), (other, begin) = self._spot(x.storage), self._spot(y.storage)
        (lo, hi), (low, high) = packed_range(x), packed_range(y)
        return one is other and start + lo < begin + high and begin + low < start + hi
