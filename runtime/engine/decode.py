"""Decoding: steps of one token a sequence, each next token drawn on the device, one step running while the host reads
the one before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..errors import VkrunError
from ..models.step import RING, Chunk, StepShape
from ..text.sampler import SamplerSettings
from .choice import TokenChoice, not_finite
from .engine import Engine, Ready

N_UNDER_WAY = 2  # steps


def batch_size(n: int) -> int:
    """The planned number of sequences for n of them: 1, 2, 4, 8, and beyond eight sizes to each power of two. So few
    sizes are planned, and little is computed for nobody."""
    power = 1 << max(n - 1, 0).bit_length()
    step = power // 16
    return power if n <= 8 else -(-n // step) * step


def few_sizes(n: int) -> int:
    """The planned number of sequences that decode beside a prompt, or are planned for at first: 1, 4, 16, and powers
    of two beyond. A new size makes all wait for longer than some empty rows among many."""
    return next((size for size in (1, 4, 16) if size >= n), 1 << (n - 1).bit_length())


class DecodeRun:
    """Steps in a row of the same sequences. Each begins with the tokens that the one before drew.

    n_left: steps that may still begin; n_under_way: steps that have begun and were not read.
    """

    def __init__(
        self,
        engine: Engine,
        chunks: Sequence[Chunk],
        rows: np.ndarray,
        n_drawn: int,
        limit: int,
        rests: bool = False,
        ready: Callable[[StepShape], Ready] | None = None,
    ) -> None:
        """chunks: a token each; rows [n, N_SETTINGS]: settings of each; limit: steps, which must fit the context.
        rests: as StepShape's. ready: the engine's, or another that may give a larger size."""
        n, last, model = batch_size(len(chunks)), max(c.pos for c in chunks), engine.model
        n_kv = engine.kv_size(last + 1)
        shape = StepShape(((n, 1),), n_kv, n, min(n_drawn, model.params.n_vocab), rests=rests)
        self._engine, self._ready = engine, (ready or engine.ready)(shape)
        inputs = self._ready.inputs
        self.is_own = self.shape == shape  # size, rather than a larger one
        engine.device.write(inputs.storage, inputs.fill([chunks], model.capacity.n_ctx, settings=rows))
        self._pos = np.array([c.pos for c in chunks])
        self.n_left, self.n_under_way = min(limit, n_kv - last), 0

    @property
    def shape(self) -> StepShape:
        return self._ready.inputs.shape

    def next(self, goes_on: bool = True) -> np.ndarray:
        """int32 [n]: the tokens drawn by the oldest step under way, -1 where logits are not finite.

        goes_on: keep the device busy with the steps after it."""
        while self.n_left and self.n_under_way < (N_UNDER_WAY if goes_on else 1):
            self._begin()
        self._ready.program.wait()
        return self._tokens(self._ready.program.read(self._ready.output))

    def _begin(self) -> None:
        self._ready.program.submit()
        self.n_left, self.n_under_way = self.n_left - 1, self.n_under_way + 1

    def _tokens(self, ring: np.ndarray) -> np.ndarray:
        """Of the oldest step under way, which is over."""
        self._engine.ran()
        self.n_under_way -= 1
        tokens = ring[np.arange(len(self._pos)), self._pos % RING]
        self._pos += 1
        return tokens

    def abandon(self) -> None:
        """Wait for what is under way, whatever becomes of it."""
        self.n_left = 0
        while self.n_under_way:
            self.n_under_way -= 1
            with suppress(VkrunError):
                self._ready.program.wait()


def decode(
    engine: Engine, chunks: Sequence[Chunk], settings: SamplerSettings | Sequence[SamplerSettings], n: int
) -> Iterator[np.ndarray]:
    """int32 [n_seqs], n times: feed a token to each of some sequences, and go on with what is drawn.

    settings: of all, or of each. Where the reader stops early one step more may have run than was read.
    """
    of_each = [settings] * len(chunks) if isinstance(settings, SamplerSettings) else settings
    choices, done = [TokenChoice(s) for s in of_each], 0
    rows, n_drawn = np.stack([c.row for c in choices]), max(c.n_drawn for c in choices)
    while done < n:
        run = DecodeRun(engine, chunks, rows, n_drawn, n - done)
        try:
            while run.n_left or run.n_under_way:
                tokens = run.next()
                if tokens.min() < 0:
                    raise not_finite(chunks[int(tokens.argmin())].pos + 1)
                chunks = [replace(c, pos=c.pos + 1, ids=(int(t),)) for c, t in zip(chunks, tokens, strict=True)]
                done += 1
                yield tokens
        finally:
            run.abandon()
