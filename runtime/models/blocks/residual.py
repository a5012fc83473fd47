"""The residual stream: a layer is a row of blocks, whose outputs are added to what came in."""

from dataclasses import dataclass
from typing import Protocol

from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .norm import Norm


class Block(Protocol):
    """Some work on rows, [n_rows, width] -> [n_rows, width]."""

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor: ...


@dataclass(frozen=True)
class Normed:
    """after(block(before(x))), norms where there are any."""

    block: Block
    before: Norm | None = None
    after: Norm | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        y = self.block(g, self.before(g, x) if self.before else x, step)
        return self.after(g, y) if self.after else y


@dataclass(frozen=True)
class Residual:
    """x + scale * after(block(before(x))), norms where there are any; `total` norms the sum."""

    block: Block
    before: Norm | None = None
    after: Norm | None = None
    scale: float = 1.0
    total: Norm | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        y = Normed(self.block, self.before, self.after)(g, x, step)
        y = g.add(x, y if self.scale == 1.0 else g.scale(y, self.scale))
        return self.total(g, y) if self.total else y


@dataclass(frozen=True)
class Times:
    """x times a number that the file holds, [1]."""

    factor: Tensor

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        return g.mul(x, self.factor)


@dataclass(frozen=True)
class Chain:
    """One block after the other."""

    blocks: tuple[Block, ...]

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        for block in self.blocks:
            x = block(g, x, step)
        return x


@dataclass(frozen=True)
class Beside:
    """The sum of blocks that work on one input side by side."""

    first: Block
    second: Block

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        return g.add(self.first(g, x, step), self.second(g, x, step))
