"""Families whose positions are learned: a row for each is added to tokens, and attention turns nothing."""

from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .hyper import Hyper
from .step import StepTensors
from .transformer import Transformer, TransformerParams


class LearnedPositions(Transformer):
    turns = False

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.positions = self.weights.matrix("position_embd.weight", (p.n_ctx_train, p.width))
        return p

    def placed(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        """Rows that know where they stand."""
        return g.add(x, g.get_rows(self.positions, step.pos))
