"""GPT-2 and StarCoder 2: LayerNorms, biases everywhere, a gelu without a gate; positions of GPT-2 are learned."""

from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .positions import LearnedPositions
from .step import StepTensors
from .transformer import Transformer


class StarCoder2(Transformer):
    name = "starcoder2"
    called = "StarCoder 2"
    gated = False


class GPT2(LearnedPositions, StarCoder2):
    name = "gpt2"
    called = "GPT-2"

    def embed(self, g: Graph, step: StepTensors) -> Tensor:
        return self.placed(g, super().embed(g, step), step)
