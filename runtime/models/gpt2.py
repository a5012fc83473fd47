"""GPT-2 and StarCoder 2: LayerNorms, biases everywhere, a gelu without a gate; positions of GPT-2 are learned."""

from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .blocks.rope import Rope, no_rope
from .hyper import Hyper
from .step import StepTensors
from .transformer import Transformer, TransformerParams


class StarCoder2(Transformer):
    name = "starcoder2"
    called = "StarCoder 2"
    gated = False


class GPT2(StarCoder2):
    name = "gpt2"
    called = "GPT-2"

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.positions = self.weights.matrix("position_embd.weight", (p.n_ctx_train, p.width))
        return p

    def read_ropes(self, h: Hyper, p: TransformerParams) -> dict[bool, Rope]:
        return dict.fromkeys((False, True), no_rope(self.weights))

    def embed(self, g: Graph, step: StepTensors) -> Tensor:
        return g.add(super().embed(g, step), g.get_rows(self.positions, step.pos))
