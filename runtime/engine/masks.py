"""Masks: tokens drawn on the device of those alone that a constraint allows.

The logits rest on the device where a step left them, while the host finds out which tokens may come; a small program of
its own then draws. No logit passes through the host.
"""

from dataclasses import dataclass

import numpy as np

from ...backends.base import Program
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.ops.sampling import N_SETTINGS, n_words
from ..ir.plan import lean_plan
from ..ir.tensor import Kind, Storage, Tensor
from .engine import Engine


@dataclass(frozen=True)
class Drawing:
    """A draw from so many rows of logits and candidates, planned and compiled."""

    program: Program
    inputs: dict[str, Storage]
    ring: Tensor


class MaskedDraws:
    """Draws tokens from logits that rest on the device."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._planned: dict[tuple[Storage, int], Drawing] = {}

    def draw(self, logits: Tensor, masks: np.ndarray, settings: np.ndarray, pos: np.ndarray, n: int) -> np.ndarray:
        """int32 [n_out]: a token for each row of logits [n_out, n_vocab], -1 where the best one is not finite.

        masks [n_out, ceil(n_vocab / 32)], settings [n_out, N_SETTINGS], pos [n_out] of each row, n candidates."""
        drawing = self._drawing(logits, n)
        given = {"mask": masks, "settings": settings, "pos": pos, "rows": pos, "ids": pos}
        for name in given.keys() & drawing.inputs.keys():
            storage = drawing.inputs[name]
            self._engine.device.write(storage, given[name].reshape(storage.shape))
        drawing.program.run()
        return drawing.program.read(drawing.ring)[:, 0]

    def close(self) -> None:
        """Drop every program; the next draw plans anew."""
        for drawing in self._planned.values():
            drawing.program.close()
            self._engine.device.free(drawing.inputs.values())
        self._planned.clear()

    def _drawing(self, logits: Tensor, n: int) -> Drawing:
        key = logits.storage, n
        if key not in self._planned:
            engine, graph = self._engine, draw_graph(logits, n)
            plan = lean_plan(graph, engine.level, engine.device.supports)
            inputs = {s.name: s for s in plan.storages(Kind.INPUT)}
            engine.device.alloc(inputs.values())
            self._planned[key] = Drawing(engine.device.compile(plan), inputs, graph.outputs["ring"])
        return self._planned[key]


def draw_graph(logits: Tensor, n_drawn: int) -> Graph:
    """Tokens of the n_drawn largest logits [B, V] that a mask leaves, drawn as a step draws them: the ring [B, 1]."""
    (n, n_vocab), g = logits.shape, Graph()
    shapes = {"mask": (n, n_words(n_vocab)), "settings": (n, N_SETTINGS), "pos": (n, 1), "ids": (n, 1), "rows": (n,)}
    mask, settings, pos, ids, rows = (g.input(name, shape, DType.I32) for name, shape in shapes.items())
    ring = g.input("ring", (n, 1), DType.I32)
    left = g.one("mask_tokens", logits, mask)
    largest = g.top_k(left, n_drawn)
    token = largest if n_drawn == 1 else g.one("draw", left, largest, settings, pos)
    g.emit("advance", left, token, ids, pos, rows, ring)
    g.output("ring", ring)
    return g
