"""Drawing: tokens chosen on the device, one step running while the host reads the one before."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import TextError
from ..ir.ops.sampling import settings_row
from ..models.step import RING, Chunk, StepShape
from ..text.sampler import SamplerSettings
from .engine import Engine, Ready

MAX_CANDIDATES = 64  # of a drawn token


def can_draw(settings: SamplerSettings) -> bool:
    """Can the device choose by these settings? Penalties and long candidate lists need all logits on the host."""
    return not settings.penalises and (settings.temp <= 0 or 0 < settings.top_k <= MAX_CANDIDATES)


class Drawing:
    """Feeds one token to each of some sequences, and goes on with what is drawn from their logits.

    `fed`: the tokens fed so far, a row a step, [n_steps, n_seqs]. It may hold one step more than was read: close()
    waits for what is under way.
    """

    def __init__(self, engine: Engine, chunks: list[Chunk], settings: SamplerSettings, limit: int) -> None:
        """chunks: a slot, a position and one token each; limit: steps, which must fit the context."""
        self._engine, self._chunks, self._limit = engine, chunks, limit
        seed = settings.seed
        if seed in (None, -1):
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._row = settings_row(settings.temp, settings.top_p, settings.min_p, settings.top_k, seed or 0)
        self._n_drawn = 1 if settings.temp <= 0 else MAX_CANDIDATES
        self._begun, self._under_way = 0, 0
        self._drawn: list[np.ndarray] = [np.array([c.ids[0] for c in chunks], np.int32)]

    @property
    def fed(self) -> list[np.ndarray]:
        return self._drawn[: self._begun]

    def __iter__(self) -> Iterator[np.ndarray]:
        """int32 [n_seqs], `limit` times: what was drawn."""
        while self._begun < self._limit:
            ready = self._ready()
            first = self._begun
            n = min(self._limit - first, ready.inputs.shape.n_kv - self._last_pos(first))
            for i in range(n):
                while self._begun < min(first + n, first + i + 2):
                    self._begin(ready)
                yield self._read(ready)

    def close(self) -> None:
        """Wait for what is under way; after it `fed` is final."""
        while self._under_way:
            self._read(self._ready_now)

    def _ready(self) -> Ready:
        """The program for the next steps, its step buffer holding the tokens drawn last."""
        engine, n_seqs = self._engine, len(self._chunks)
        chunks = [
            replace(c, pos=c.pos + self._begun, ids=(int(t),))
            for c, t in zip(self._chunks, self._drawn[self._begun], strict=True)
        ]
        n_kv = engine.kv_size(self._last_pos(self._begun) + 1)
        ready = engine.ready(StepShape(((n_seqs, 1),), n_kv, n_seqs, min(self._n_drawn, engine.model.params.n_vocab)))
        filled = ready.inputs.fill([chunks], engine.model.capacity.n_ctx, settings=self._row)
        engine.device.write(ready.inputs.storage, filled)
        self._ready_now = ready
        return ready

    def _last_pos(self, step: int) -> int:
        return max(c.pos for c in self._chunks) + step

    def _begin(self, ready: Ready) -> None:
        ready.program.submit()
        self._begun += 1
        self._under_way += 1

    def _read(self, ready: Ready) -> np.ndarray:
        ready.program.wait()
        self._under_way -= 1
        step = len(self._drawn) - 1
        ring = ready.program.read(ready.output)
        token = np.array([ring[b, (c.pos + step) % RING] for b, c in enumerate(self._chunks)], np.int32)
        if token.min() < 0:
            raise TextError(f"logits: not finite after {self._last_pos(step) + 1} tokens, so no token can be drawn")
        self._drawn.append(token)
        return token
