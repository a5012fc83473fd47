"""StepShape and Step: what one run of a plan works on, and the step buffer through which it changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Layout, Shape
from ..ir.ops.sampling import N_SETTINGS
from ..ir.tensor import Kind, Storage, Tensor

RING = 8  # drawn tokens that wait for the host


@dataclass(frozen=True)
class StepShape:
    """What is fixed at planning: n_seqs sequences of n_tokens tokens, n_kv keys looked at, n_out rows of logits.

    n_drawn: with 0 the logits come back; else (for one token a sequence) the next token is drawn on the device from so
    many candidates, and the step buffer moves on to it by itself. embeddings: rows may come in place of tokens.
    """

    n_seqs: int
    n_tokens: int
    n_kv: int
    n_out: int
    n_drawn: int = 0
    embeddings: bool = False

    @property
    def n_rows(self) -> int:
        return self.n_seqs * self.n_tokens


@dataclass(frozen=True)
class Chunk:
    """Some tokens of one sequence: their ids, the slot they live in, and the position of the first.

    embeddings [n, width] stand in the place of the tokens' own where given; ids then only count them.
    """

    slot: int
    pos: int
    ids: Sequence[int]
    embeddings: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class StepInputs:
    """The step buffer: one storage of I32, and its parts as tensors.

    ids, pos [B, T]; cache_rows [B*T]: slot * n_ctx + pos; slots, n_valid [B]; tails [B, c-1]; out_rows [n_out];
    source [1]: 0 where rows are looked up by ids, 1 where they come as embeddings.
    Where tokens are drawn also settings [B, N_SETTINGS] and ring [B, RING]: the token drawn at pos in ring[pos % RING].
    Padding: pos and cache_rows of -1, which attend to nothing and write nothing.
    """

    shape: StepShape
    tail: int  # rows that a convolution remembers, c - 1
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        n = sum(int(np.prod(s)) for s in self._shapes().values())
        object.__setattr__(self, "storage", Storage("step", Kind.INPUT, DType.I32, (n,)))

    def _shapes(self) -> dict[str, Shape]:
        s = self.shape
        grid = (s.n_seqs, s.n_tokens)
        drawing = {"settings": (s.n_seqs, N_SETTINGS), "ring": (s.n_seqs, RING)} if s.n_drawn else {}
        return {
            "ids": grid,
            "pos": grid,
            "cache_rows": (s.n_rows,),
            "slots": (s.n_seqs,),
            "n_valid": (s.n_seqs,),
            "tails": (s.n_seqs, self.tail),
            "out_rows": (s.n_out,),
            "source": (1,),
            **drawing,
        }

    def tensors(self) -> dict[str, Tensor]:
        made, at = {}, 0
        for name, shape in self._shapes().items():
            made[name] = Tensor(DType.I32, Layout.contiguous(shape, at), self.storage)
            at += int(np.prod(shape))
        return made

    def fill(
        self, chunks: Sequence[Chunk], n_ctx: int, out_rows: Sequence[int] = (), settings: np.ndarray | None = None
    ) -> np.ndarray:
        """The step buffer's content for at most n_seqs chunks of at most n_tokens tokens; settings [N_SETTINGS]."""
        part = {name: np.full(shape, -1, np.int32) for name, shape in self._shapes().items()}
        part["ids"][:], part["n_valid"][:], part["tails"][:] = 0, 0, np.arange(self.tail)
        cache_rows = part["cache_rows"].reshape(part["pos"].shape)
        for b, chunk in enumerate(chunks):
            n = len(chunk.ids)
            part["ids"][b, :n] = chunk.ids
            part["pos"][b, :n] = np.arange(chunk.pos, chunk.pos + n)
            cache_rows[b, :n] = chunk.slot * n_ctx + part["pos"][b, :n]
            part["slots"][b], part["n_valid"][b] = chunk.slot, n
            part["tails"][b] += n
        part["out_rows"][:] = 0
        part["source"][:] = any(c.embeddings is not None for c in chunks)
        part["out_rows"][: len(out_rows)] = out_rows
        if settings is not None:
            part["settings"][:] = settings
        return np.concatenate([p.reshape(-1) for p in part.values()])
