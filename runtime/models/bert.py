"""BERT and Nomic BERT: all of a text is read at once, for its embedding; norms stand after what they norm."""

import numpy as np

from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .blocks.feed_forward import FeedForward, gelu_erf
from .blocks.norm import LayerNorm
from .blocks.residual import Block, Chain, Residual
from .hyper import Hyper
from .positions import LearnedPositions
from .step import StepTensors
from .transformer import Transformer, TransformerParams


class NomicBert(Transformer):
    """Turned positions, a gated feed-forward."""

    name = "nomic-bert"
    called = "Nomic Embed 1 and 1.5"
    final_norm = ""
    causal = False

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.first_norm = self.norm_after("token_embd_norm", p)
        self.kind = self._kind(p)
        return p

    def norm_after(self, name: str, p: TransformerParams) -> LayerNorm:
        weight, bias = (self.weights.vector(f"{name}.{part}", (p.width,)) for part in ("weight", "bias"))
        return LayerNorm(weight, bias, p.eps)

    def _kind(self, p: TransformerParams) -> Tensor:
        """What is added to tokens of the first of two texts, which a lone one is."""
        name = "token_types.weight"
        return self.weights.rows(name, (self.weights.n_rows(name), p.width), np.zeros(1, np.int64), "first")

    def embed(self, g: Graph, step: StepTensors) -> Tensor:
        x = super().embed(g, step)
        x = g.add(x, g.cast(self.kind, x.dtype))
        return self.first_norm(g, self.placed(g, x, step))

    def placed(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        """Rows that know where they stand, unless attention does."""
        return x

    def layer(self, i: int) -> Block:
        at = f"blk.{i}."
        norms = (self.norm_after(at + name, self.params) for name in ("attn_output_norm", "layer_output_norm"))
        return Chain(
            (Residual(self.attention(i, at), total=next(norms)), Residual(self.feed(i, at), total=next(norms)))
        )


class Bert(LearnedPositions, NomicBert):
    """Learned positions, gelu by the normal distribution's function."""

    name = "bert"
    called = "BERT, BGE, E5, MiniLM and others, for embeddings"

    def feed_forward(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        up, down = self.linear(at + "ffn_up", hidden, width), self.linear(at + "ffn_down", width, hidden)
        return FeedForward(None, up, down, activation=gelu_erf)
