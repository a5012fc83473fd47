"""The residual stream: a layer is a row of blocks, whose outputs are added to what came in."""

from dataclasses import dataclass
from typing import Protocol

from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .norm import Norm


class Block(Protocol):
    """Some work on normed rows, [n_rows, width] -> [n_rows, width]."""

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor: ...


@dataclass(frozen=True)
class Residual:
    """x + block(norm(x))."""

    block: Block
    norm: Norm

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        return g.add(x, self.block(g, self.norm(g, x), step))


@dataclass(frozen=True)
class Chain:
    """One block after the other."""

    blocks: tuple[Block, ...]

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        for block in self.blocks:
            x = block(g, x, step)
        return x
