"""Llama and those that differ from it in numbers alone: Mistral, Mixtral and most finetunes are Llama by name."""

from .blocks.rope import Rope, no_rope
from .hyper import Hyper
from .transformer import Transformer, TransformerParams


class Llama(Transformer):
    name = "llama"
    called = "Llama 1 to 3, Mistral, Mixtral, SmolLM 2, TinyLlama, Yi, most finetunes"
    neighbours = True
    normalises = True


class Mistral3(Llama):
    name = "mistral3"
    called = "Ministral 3, Devstral Small 2"


class SmolLM3(Llama):
    """Each fourth layer turns nothing; no key says so."""

    name = "smollm3"
    called = "SmolLM 3"

    def read(self, h: Hyper) -> TransformerParams:
        self.no_rope = no_rope(self.weights)
        return super().read(h)

    def rope(self, i: int) -> Rope:
        return self.no_rope if (i + 1) % 4 == 0 else super().rope(i)


class Granite(Llama):
    """Scales of embeddings, blocks and logits; some turn nothing. x + r f(norm(x)) is r (x / r + f(norm(x))): rows
    between layers are held over r, and what blocks make is added as it is."""

    name = "granite"
    called = "Granite 3 and 4, dense"

    def read(self, h: Hyper) -> TransformerParams:
        self.embedding_scale = h.get_float("embedding_scale", 0.0) or 1.0
        if h.get_float("residual_scale", 0.0):
            self.stream_scale = 1 / h.get_float("residual_scale", lo=1e-6)
        self.logit_scale = 1 / (h.get_float("logit_scale", 0.0) or 1.0)
        self.turns = h.get_bool("rope.scaling.finetuned", True)
        return super().read(h)


class GraniteMoe(Granite):
    name = "granitemoe"
    called = "Granite 3 with experts"
