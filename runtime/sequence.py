"""Sequence: the tokens in one slot, and the logits after the last of them."""

from collections.abc import Sequence as Ids

import numpy as np

from .engine import Engine
from .models.step import Chunk


class Sequence:
    """A slot of an engine. `ids` are the tokens whose states the slot holds."""

    def __init__(self, engine: Engine, slot: int = 0) -> None:
        self._engine, self._slot = engine, slot
        self.ids: list[int] = []
        self._logits: np.ndarray | None = None

    @property
    def room(self) -> int:
        """Tokens that still fit the context."""
        return self._engine.model.n_ctx - len(self.ids)

    def clear(self) -> None:
        self._engine.reset(self._slot)
        self.ids, self._logits = [], None

    def n_kept(self, ids: Ids[int]) -> int:
        """How many of `ids` need no work: all that the slot holds, or none, as a recurrent state cannot be cut back."""
        goes_on = self._logits is not None and list(ids[: len(self.ids)]) == self.ids
        return len(self.ids) if goes_on else 0

    def become(self, ids: Ids[int]) -> np.ndarray:
        """Logits [n_vocab] after `ids`, going on from what the slot holds where that is their beginning."""
        kept = self.n_kept(ids)
        if not kept:
            self.clear()
        rest = list(ids[kept:])
        return self.extend(rest) if rest or self._logits is None else self._logits

    def extend(self, ids: Ids[int]) -> np.ndarray:
        """Logits [n_vocab] after the tokens so far and `ids`."""
        self._logits = None  # until it is done: a step that fails or is interrupted leaves states of no known tokens
        logits = self._engine.prompt(self._slot, len(self.ids), ids)[-1]
        self.ids += ids
        self._logits = logits
        return logits

    def extend_one(self, token: int) -> np.ndarray:
        """extend for a single token, without its checks: the decode step."""
        self._logits = None
        logits = self._engine.step([Chunk(self._slot, len(self.ids), (token,))])[0]
        self.ids.append(token)
        self._logits = logits
        return logits
