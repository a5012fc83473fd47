"""Masks: tokens drawn on the device of those alone that a constraint allows.

The logits rest on the device where a step left them, while the host finds out which tokens may come; a small program of
its own then draws, and moves the step buffer on. No logit passes through the host.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ...backends.base import Program
from ..errors import VkrunError
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.ops.sampling import n_words
from ..ir.plan import lean_plan
from ..ir.tensor import Storage, Tensor
from ..models.decoder import draw_out
from ..models.step import Chunk, StepInputs, StepShape
from .choice import TokenChoice
from .decode import DecodeRun
from .engine import Engine, Ready


@dataclass(frozen=True)
class Drawing:
    """The draw behind a step, planned and compiled."""

    engine: Engine
    step: Storage
    program: Program
    mask: Storage
    ring: Tensor

    def submit(self, masks: Mapping[int, np.ndarray]) -> None:
        """masks: int32 [ceil(n_vocab / 32)] by the row of logits; other rows may have any token."""
        allowed = np.full(self.mask.shape, -1, np.int32)
        for row, mask in masks.items():
            allowed[row] = mask
        self.engine.device.write(self.mask, allowed)
        self.program.submit()

    def read(self, ready: Ready) -> np.ndarray:
        """The ring of drawn tokens, once the step and the draw are over."""
        ready.program.wait()
        self.program.wait()
        return self.program.read(self.ring)

    def close(self) -> None:
        self.program.close()
        self.engine.device.free([self.mask])


class MaskedDraws:
    """A draw for each planned step whose logits rest on the device."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._planned: dict[StepShape, Drawing] = {}

    def of(self, ready: Ready) -> Drawing:
        shape, step = ready.inputs.shape, ready.inputs.storage
        if shape in self._planned and self._planned[shape].step is not step:  # planned anew since
            self._planned.pop(shape).close()
        if shape not in self._planned:
            for gone in [s for s in self._planned if not self._engine.is_planned(s)]:
                self._planned.pop(gone).close()
            self._planned[shape] = self._plan(ready.inputs)
        return self._planned[shape]

    def close(self) -> None:
        """Drop every program; the next draw plans anew."""
        for drawing in self._planned.values():
            drawing.close()
        self._planned.clear()

    def _plan(self, inputs: StepInputs) -> Drawing:
        engine, graph = self._engine, draw_graph(inputs)
        plan = lean_plan(graph, engine.level, engine.device.supports)
        mask = graph.inputs["mask"].storage
        engine.device.alloc([mask])
        return Drawing(engine, inputs.storage, engine.device.compile(plan), mask, graph.outputs["ring"])


class MaskedRun(DecodeRun):
    """Steps in a row of sequences of which some are held to a constraint. The step after a draw begins with it, so that
    the device works on while the host reads the token and finds out what may follow."""

    def __init__(
        self, engine: Engine, chunks: Sequence[Chunk], choices: Sequence[TokenChoice], limit: int, draws: MaskedDraws
    ) -> None:
        rows = np.stack([c.row for c in choices])
        super().__init__(engine, chunks, rows, max(c.n_drawn for c in choices), limit, rests=True)
        self._choices, self._drawing = choices, draws.of(self._ready)

    def next(self, goes_on: bool = True) -> np.ndarray:
        """As DecodeRun's; choices whose constraint fails say so, and their token is any."""
        if not self.n_under_way:
            self._begin()
        n_vocab = self._engine.model.params.n_vocab
        self._drawing.submit({i: c.mask(n_vocab) for i, c in enumerate(self._choices) if c.constraint})
        if goes_on and self.n_left:
            self._begin()
        return self._tokens(self._drawing.read(self._ready))

    def abandon(self) -> None:
        super().abandon()
        with suppress(VkrunError):
            self._drawing.program.wait()


def draw_graph(inputs: StepInputs) -> Graph:
    """Tokens by the logits that a step left, of those that a mask allows: the step's ring."""
    step, g = inputs.tensors(), Graph()
    assert step.logits is not None
    g.inputs["step"] = inputs.storage.tensor()
    mask = g.input("mask", (step.shape.n_out, n_words(step.logits.shape[1])), DType.I32)
    draw_out(g, g.one("mask_tokens", step.logits, mask), step)
    return g
