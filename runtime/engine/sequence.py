"""Sequence: the tokens in one slot, and the logits after the last of them."""

from collections.abc import Iterator
from collections.abc import Sequence as Ids

import numpy as np

from ..models.step import Chunk
from ..text.sampler import SamplerSettings
from .drawing import Drawing
from .engine import Engine


class Sequence:
    """A slot of an engine. `ids` are the tokens whose states the slot holds."""

    def __init__(self, engine: Engine, slot: int = 0) -> None:
        self._engine, self._slot = engine, slot
        self.ids: list[int] = []
        self._intact = False  # a step that failed or was interrupted leaves states of no known tokens
        self._logits: np.ndarray | None = None

    @property
    def room(self) -> int:
        """Tokens that still fit the context."""
        return self._engine.model.capacity.n_ctx - len(self.ids)

    def clear(self) -> None:
        self._engine.reset(self._slot)
        self.ids, self._logits, self._intact = [], None, True

    def n_kept(self, ids: Ids[int]) -> int:
        """How many of `ids` need no work: all that the slot holds, or none, as a recurrent state cannot be cut back."""
        goes_on = self._intact and list(ids[: len(self.ids)]) == self.ids
        return len(self.ids) if goes_on and (len(ids) > len(self.ids) or self._logits is not None) else 0

    def become(self, ids: Ids[int]) -> np.ndarray:
        """Logits [n_vocab] after `ids`, going on from what the slot holds where that is their beginning."""
        kept = self.n_kept(ids)
        if not kept:
            self.clear()
        rest = list(ids[kept:])
        return self.extend(rest) if rest or self._logits is None else self._logits

    def extend(self, ids: Ids[int]) -> np.ndarray:
        """Logits [n_vocab] after the tokens so far and `ids`."""
        self._intact = False
        logits = self._engine.prompt(self._slot, len(self.ids), ids)[-1]
        return self._became(ids, logits)

    def extend_one(self, token: int) -> np.ndarray:
        """extend for a single token, without its checks: the decode step."""
        self._intact = False
        logits = self._engine.step([Chunk(self._slot, len(self.ids), (token,))])[0]
        return self._became((token,), logits)

    def draw(self, token: int, settings: SamplerSettings, limit: int) -> Iterator[int]:
        """Feed a token, then each that the device draws; yield these, at most `limit`, which must fit the room.

        The device runs a step ahead: of what was yielded, the last token may or may not have been fed as well.
        """
        drawing = Drawing(self._engine, [Chunk(self._slot, len(self.ids), (token,))], settings, limit)
        self._intact, self._logits = False, None
        try:
            for drawn in drawing:
                yield int(drawn[0])
            self._intact = True
        except GeneratorExit:
            drawing.close()
            self._intact = True
            raise
        finally:
            self.ids += [int(fed[0]) for fed in drawing.fed]

    def _became(self, ids: Ids[int], logits: np.ndarray) -> np.ndarray:
        self.ids += ids
        self._logits, self._intact = logits, True
        return logits
