"""Decoder: what families of causal language models share, from the embedding over a row of layers to the next token."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

import numpy as np

from ..gguf.file import GGUFFile
from ..ir.graph import Graph
from ..ir.tensor import Tensor
from .architecture import Architecture, Capacity, Params
from .blocks.linear import Linear
from .blocks.norm import LayerNorm, Norm, RMSNorm
from .hyper import Hyper
from .step import StepInputs, StepTensors


class Layer(Protocol):
    """One layer: x [n_rows, width] -> x of the next. It reads and writes its caches and states."""

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor: ...


class Decoder(Architecture):
    """A family says what its parameters are (`read`) and how a layer is put together (`layer`).

    What `read` may set beside: embedding_scale, a factor of tokens' rows; stream_scale, one of the rows between layers,
    of which norms with eps times its square see nothing; logit_scale, a factor of logits; logit_cap:
    where not 0 logits z become cap * tanh(z / cap).
    """

    final_norm: ClassVar[str] = "output_norm"  # "": none
    embedding_scale: float = 1.0
    stream_scale: float = 1.0
    logit_scale: float = 1.0
    logit_cap: float = 0.0

    def __init__(self, f: GGUFFile, capacity: Capacity) -> None:
        super().__init__(f, capacity)
        self.params = p = self.read(Hyper(f, self.name))
        self.embedding = self.weights.matrix("token_embd.weight", (p.n_vocab, p.width))
        self.layers: Sequence[Layer] = [self.layer(i) for i in range(p.n_layers)]
        self.norm = self.stream_norm(self.final_norm) if self.final_norm else None
        tied = not self.weights.has("output.weight")
        self.head = self.embedding if tied else self.weights.matrix("output.weight", (p.n_vocab, p.width))
        self._zero = self.weights.constant("zero", (1, 1), lambda first, stop: np.zeros((stop - first, 1)))

    @abstractmethod
    def read(self, h: Hyper) -> Params:
        """The file's hyper-parameters. Raises GGUFError and ModelError."""

    @abstractmethod
    def layer(self, i: int) -> Layer:
        """Layer i, over weights declared with `self.weights`, and caches and states made for it."""

    def linear(self, name: str, n_out: int, n_in: int) -> Linear:
        """A matrix, and its bias and its factor where the file has them."""
        weight, bias = self.weights.matrix(f"{name}.weight", (n_out, n_in), apart=True), None
        if self.weights.has(f"{name}.bias"):
            bias = self.weights.vector(f"{name}.bias", (n_out,))
        return Linear(weight, bias, self.weights.factor(name))

    def norm_of(self, name: str, n: int, scale: float = 1.0) -> Norm:
        """A norm of rows of n that come times `scale`: a LayerNorm where it has a bias, else an RMSNorm."""
        weight, eps = self.weights.vector(f"{name}.weight", (n,)), self.params.eps * scale**2
        if not self.weights.has(f"{name}.bias"):
            return RMSNorm(weight, eps)
        return LayerNorm(weight, self.weights.vector(f"{name}.bias", (n,)), eps)

    def stream_norm(self, name: str) -> Norm:
        """Of the rows between layers."""
        return self.norm_of(name, self.params.width, self.stream_scale)

    def graph(self, inputs: StepInputs) -> Graph:
        g, step = Graph(), inputs.tensors()
        g.inputs["step"] = inputs.storage.tensor()
        x = self.embed(g, step)
        step = replace(step, beside=self.beside(g, x, step))
        for i, layer in enumerate(self.layers):
            with g.scope(f"blk.{i}"):
                x = layer(g, x, step)
        with g.scope("output"):
            if inputs.shape.hidden:
                g.output("hidden", self.last_rows(g, x, step))
            else:
                give_out(g, self.logits(g, x, step), step)
        return g

    def embed(self, g: Graph, step: StepTensors) -> Tensor:
        """Rows of the embedding, or those that come in their place: [n_rows, width]."""
        given = scaled(g, g.input("embeddings", (step.shape.n_rows, self.params.width)), self.stream_scale)
        x = scaled(g, g.get_rows(self.embedding, step.ids), self.embedding_scale * self.stream_scale)
        x = g.select("input", step.source, x, given)
        if not step.shape.embeddings:
            g.decided["input"] = 0
        return x

    def beside(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor | None:
        """What all layers read beside x, made of the embedding's rows and of tokens."""
        return None

    def last_rows(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        """Those of which something is wanted, behind the last norm: [n_out, width]."""
        if step.shape.n_out != step.shape.n_rows:
            x = g.get_rows(x, step.out_rows)
        return self.norm(g, x) if self.norm else x

    def logits(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        """[n_out, n_vocab]; 0 in steps that want none."""
        n_out, n_rows = step.shape.n_out, step.shape.n_rows
        logits = scaled(g, g.mul_mat(self.head, self.last_rows(g, x, step)), self.logit_scale)
        if self.logit_cap:
            logits = g.scale(g.one("tanh", g.scale(logits, 1 / self.logit_cap)), self.logit_cap)
        if n_out == n_rows:
            g.decided["logits"] = 1
        return g.select("logits", step.wants, self._zero.broadcast_to(n_out, self.params.n_vocab), logits)


def scaled(g: Graph, x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else g.scale(x, factor)


def give_out(g: Graph, logits: Tensor, step: StepTensors) -> None:
    """The graph's output: logits, or the ring of tokens drawn by them; where they are to rest, they do so until
    draw_out() is run."""
    if not step.shape.n_drawn:
        g.output("logits", logits)
    elif step.logits is None:
        draw_out(g, logits, step)
    else:
        g.cpy(logits, step.logits)
        g.output("ring", step.ring)


def draw_out(g: Graph, logits: Tensor, step: StepTensors) -> None:
    """The ring as output, with tokens drawn by the n_drawn largest logits, with 1 by taking the largest; the step
    buffer moves on to them."""
    n_drawn, n_out = step.shape.n_drawn, step.shape.n_out
    ids, pos = (t.reshape(n_out, 1) for t in (step.out_ids, step.out_pos))
    largest = g.top_k(logits, n_drawn)
    token = largest if n_drawn == 1 else g.one("draw", logits, largest, step.settings, pos)
    rings = (step.out_window_rows,) if step.n_window_rows else ()
    g.emit("advance", logits, token, ids, pos, step.out_cache_rows, step.ring, *rings, n_window_rows=step.n_window_rows)
    g.output("ring", step.ring)
