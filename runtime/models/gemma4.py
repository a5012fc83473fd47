"""Gemma 4: two sizes of heads, values normed, caches shared by the last layers, embeddings for each layer, experts
beside the dense feed-forward."""

from dataclasses import dataclass, replace

from ..errors import ModelError
from ..ir.composites import GLUS
from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .blocks.experts import Experts
from .blocks.linear import Linear
from .blocks.norm import RMSNorm
from .blocks.residual import Beside, Block, Chain, Normed, Residual, Times
from .gemma import Gemma3
from .hyper import Hyper
from .routing import ExpertParams
from .step import StepTensors
from .transformer import TransformerParams


@dataclass(frozen=True)
class LayerEmbedding:
    """project(glu(gate x, u)), where u [n_rows, e] is this layer's part of step.beside [n_rows, n_layers, e]."""

    gate: Linear
    project: Linear
    i: int
    glu: str

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        assert step.beside is not None
        return self.project(g, GLUS[self.glu].parts(g, self.gate(g, x), step.beside.select(1, self.i)))


class Gemma4(Gemma3):
    name = "gemma4"
    called = "Gemma 4 (E2B, E4B, 31B, 26B with experts), as text"
    normalises = True
    largest = 0

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.n_embedding = h.get_int("embedding_length_per_layer_input", 0, lo=0)
        n_sharing = h.get_int("attention.shared_kv_layers", 0, lo=0, hi=p.n_layers - 1)
        self.n_writing = p.n_layers - n_sharing  # layers with keys and values of their own
        self.caches_of: dict[bool, tuple[Tensor, Tensor]] = {}
        if self.n_embedding:
            self._read_embeddings(p.n_layers, p)
        return replace(p, scale=p.scale or 1.0)

    def _read_embeddings(self, n_layers: int, p: TransformerParams) -> None:
        n = n_layers * self.n_embedding
        self.layer_tokens = self.weights.matrix("per_layer_token_embd.weight", (p.n_vocab, n))
        self.layer_project = Linear(self.weights.matrix("per_layer_model_proj.weight", (n, p.width)))
        norm = self.weights.vector("per_layer_proj_norm.weight", (self.n_embedding,))
        self.layer_norm = RMSNorm(norm, p.eps)

    def beside(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor | None:
        """(norm(P x / sqrt(width)) + sqrt(e) T[token]) / sqrt(2), [n_rows, n_layers, e]."""
        if not self.n_embedding:
            return None
        p, e = self.params, self.n_embedding
        shape = x.shape[0], p.n_layers, e
        projected = self.layer_norm(g, g.scale(self.layer_project(g, x), p.width**-0.5).reshape(*shape))
        tokens = g.scale(g.get_rows(self.layer_tokens, step.ids), e**0.5).reshape(*shape)
        return g.scale(g.add(projected, tokens), 0.5**0.5)

    def layer(self, i: int) -> Block:
        at, p, blocks = f"blk.{i}.", self.params, self._usual_blocks(i)
        if self.n_embedding:
            gate = self.linear(at + "inp_gate", self.n_embedding, p.width)
            made = LayerEmbedding(gate, self.linear(at + "proj", p.width, self.n_embedding), i, self.glu)
            blocks.append(Residual(made, after=self.norm_of(at + "post_norm", p.width)))
        if self.weights.has(at + "layer_output_scale.weight"):
            blocks.append(Times(self.weights.vector(at + "layer_output_scale.weight", (1,))))
        return Chain(tuple(blocks))

    def _usual_blocks(self, i: int) -> list[Block]:
        """Attention and what follows it; experts and the dense feed-forward beside them have norms of their own."""
        at = f"blk.{i}."
        norms = ("", self.ffn_norms[1]) if self.params.experts else self.ffn_norms
        attention = self.residual(at, self.attention(i, at), self.attention_norms)
        return [attention, self.residual(at, self.feed(i, at), norms)]

    def attention(self, i: int, at: str) -> Block:
        """The last layers read the caches of the last one of their kind that writes."""
        heads, sliding = self.params.heads[i], self.params.windows[i] > 0
        if i >= self.n_writing:
            q = self.linear(at + "attn_q", heads.n * heads.dim, self.params.width)
            self.weights.do_without(*(f"{at}attn_{name}.weight" for name in ("k", "v", "k_norm")))
            return self.attend(i, at, q, None, None, *self.kept_caches(i))
        self.caches_of[sliding] = self.new_caches(i, at)
        made = self.attend(i, at, *self.projections(i, at), *self.caches_of[sliding])
        return replace(made, v_norm=RMSNorm(None, self.params.eps))

    def kept_caches(self, i: int) -> tuple[Tensor, Tensor]:
        sliding = self.params.windows[i] > 0
        if sliding not in self.caches_of:
            kind = "with a window" if sliding else "without a window"
            raise ModelError(f"layer {i} shares the caches of an earlier one {kind}, of which there is none")
        return self.caches_of[sliding]

    def projections(self, i: int, at: str) -> tuple[Linear, Linear, Linear | None]:
        """Layers that see all keys need no matrix of v: values are then what k's gives."""
        heads, named = self.params.heads[i], (f"{at}attn_{name}.weight" for name in ("v", "qkv"))
        if self.params.windows[i] or any(map(self.weights.has, named)):
            return super().projections(i, at)
        sizes = (("attn_q", heads.n), ("attn_k", heads.n_kv))
        q, k = (self.linear(at + name, n * heads.dim, self.params.width) for name, n in sizes)
        return q, k, None

    def feed(self, i: int, at: str) -> Block:
        """Experts stand beside the dense feed-forward, each with norms of its own, before those of both."""
        p, experts = self.params, self.params.experts
        dense = self.feed_forward(at, p.hidden[i])
        if not experts:
            return dense
        first = Normed(dense, self.norm_of(at + "ffn_norm", p.width), self.norm_of(at + "post_ffw_norm_1", p.width))
        second = Normed(self.experts(at, experts), after=self.norm_of(at + "post_ffw_norm_2", p.width))
        return Beside(first, second)

    def experts(self, at: str, e: ExpertParams) -> Experts:
        """The router reads the residual stream, normed without a weight and scaled by numbers of its own."""
        made, width = super().experts(at, e), self.params.width
        scales = self.weights.numbers(at + "ffn_gate_inp.scale", (width,))
        weight = self.weights.constant(
            at + "router_scales", (1, width), lambda first, stop: scales()[None] * width**-0.5
        ).select(0, 0)
        return replace(
            made,
            before=self.norm_of(at + "pre_ffw_norm_2", width),
            router_before=RMSNorm(weight, self.params.eps),
        )
