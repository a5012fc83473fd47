"""StepShape and StepInputs: what one run of a plan works on, and the step buffer through which it changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from ..ir.composites.slots import SPAN, n_spans
from ..ir.dtypes import DType
from ..ir.layout import Layout, Shape
from ..ir.ops.sampling import N_SETTINGS
from ..ir.tensor import Kind, Storage, Tensor

RING = 8  # drawn tokens that wait for the host


@dataclass(frozen=True)
class StepShape:
    """What is fixed at planning: groups of n_seqs sequences with n_tokens tokens each, n_kv keys looked at, n_out rows
    of logits.

    n_drawn: with 0 the logits come back; else the next tokens are drawn on the device from so many candidates.
    embeddings: rows may come in place of tokens. snapshots: recurrent states may be kept at the ends of spans. hidden:
    rows behind the last norm come back in the place of logits. whole: every row sees all tokens of its sequence. rests:
    the logits stay on the device, and n_drawn is of the draw that follows once it is known which tokens may be.
    """

    groups: tuple[tuple[int, int], ...]
    n_kv: int
    n_out: int
    n_drawn: int = 0
    embeddings: bool = False
    snapshots: bool = False
    hidden: bool = False
    whole: bool = False
    rests: bool = False

    @property
    def n_rows(self) -> int:
        return sum(n_seqs * n_tokens for n_seqs, n_tokens in self.groups)

    @property
    def firsts(self) -> tuple[int, ...]:
        """The first row of each group."""
        return tuple(accumulate((n * t for n, t in self.groups[:-1]), initial=0))

    @property
    def decodes(self) -> bool:
        """Is it one token of each of some sequences, all of whose logits are wanted?"""
        return len(self.groups) == 1 and self.groups[0][1] == 1 and self.n_out == self.n_rows

    @property
    def moves_on(self) -> bool:
        """Does the step buffer move on to the drawn tokens by itself?"""
        return self.decodes and self.n_drawn > 0


@dataclass(frozen=True)
class Chunk:
    """Some tokens of one sequence: their ids, its slot of the caches, and the position of the first.

    embeddings [n, width] stand in the place of the tokens' own where given; ids then only count them. state_slot: of
    the recurrent states, by default as that of the caches. snapshots: the state slots that receive the state as it is
    at the end of each SPAN of the tokens; -1 and those left out for none.
    """

    slot: int
    pos: int
    ids: Sequence[int]
    embeddings: np.ndarray | None = None
    state_slot: int | None = None
    snapshots: Sequence[int] = ()


@dataclass(frozen=True)
class GroupTensors:
    """The step buffer's parts for one group of B sequences with T tokens, which are rows [first, first + B*T).

    pos, seen [B, T], the last position that a row sees; cache_slots, n_valid [B]; state_slots [B] or with snapshots
    [B, 1 + S] (see slots.py); tails [*state_slots.shape, tail], which rows a convolution remembers.
    """

    n_seqs: int
    n_tokens: int
    first: int
    pos: Tensor
    seen: Tensor
    cache_slots: Tensor
    state_slots: Tensor
    n_valid: Tensor
    tails: Tensor

    def rows(self, x: Tensor) -> Tensor:
        """This group's rows of x [n_rows, ...], as [B, T, ...]."""
        mine = x.slice(0, self.first, self.first + self.n_seqs * self.n_tokens)
        return mine.reshape(self.n_seqs, self.n_tokens, *x.shape[1:])


@dataclass(frozen=True)
class StepTensors:
    """The step buffer's parts as tensors, those of all rows first.

    ids, pos, cache_rows [n_rows], cache_rows being slot * n_ctx + pos; window_rows [n_rows] where caches of layers with
    a window are rings, else [0]: slot * n_window_rows + pos % n_window_rows; out_rows [n_out]; source [1]: 0 where rows
    are looked up by ids, 1 where they come as embeddings; wants [1]: 0 where nobody reads the logits.

    Where tokens are drawn, for each row of logits settings [n_out, N_SETTINGS] and ring [n_out, RING], whose entry
    pos % RING is the token drawn at pos; out_ids, out_pos, out_cache_rows, out_window_rows [n_out], which move on: ids
    and so on themselves in steps that do, else copies of no further use.
    """

    shape: StepShape
    ids: Tensor
    pos: Tensor
    cache_rows: Tensor
    window_rows: Tensor
    out_rows: Tensor
    source: Tensor
    wants: Tensor
    settings: Tensor
    out_ids: Tensor
    out_pos: Tensor
    out_cache_rows: Tensor
    out_window_rows: Tensor
    ring: Tensor
    groups: tuple[GroupTensors, ...]
    logits: Tensor | None = None  # where they rest, [n_out, n_vocab], in steps that leave them on the device
    n_window_rows: int = 0
    beside: Tensor | None = None  # what a family makes once and all its layers read beside x

    def rows_written(self, window: int) -> Tensor:
        """[n_rows]: where the step's keys and values go in caches of a layer with such a window, 0 for none."""
        return self.window_rows if window and self.n_window_rows else self.cache_rows


@dataclass(frozen=True, eq=False)
class StepInputs:
    """The step buffer: one storage of I32, of which StepTensors are the parts.

    Padding: pos, rows of caches and slots of -1, which attend to nothing and write nothing; n_valid, settings of 0.
    """

    shape: StepShape
    tail: int  # rows that a convolution remembers, 0 without
    logits: Storage | None = None  # where they rest: [n_out, n_vocab]
    n_window_rows: int = 0  # of a sequence in caches of layers with a window, 0 where these are as others
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        n = sum(int(np.prod(s)) for s in self._shapes().values())
        object.__setattr__(self, "storage", Storage("step", Kind.INPUT, DType.I32, (n,)))

    def _shapes(self) -> dict[str, Shape]:
        s, n_rings = self.shape, min(1, self.n_window_rows)
        n_drawn, n_copies = (s.n_out if on else 0 for on in (s.n_drawn, s.n_drawn and not s.moves_on))
        shapes: dict[str, Shape] = dict.fromkeys(("ids", "pos", "cache_rows"), (s.n_rows,))
        shapes |= {"window_rows": (n_rings * s.n_rows,), "out_window_rows": (n_rings * n_copies,)}
        shapes |= {"out_rows": (s.n_out,), "source": (1,), "wants": (1,)}
        shapes |= {"settings": (n_drawn, N_SETTINGS), "ring": (n_drawn, RING)}
        shapes |= dict.fromkeys(("out_ids", "out_pos", "out_cache_rows"), (n_copies,))
        for i, (n_seqs, n_tokens) in enumerate(s.groups):
            slots: Shape = (n_seqs, 1 + n_spans(n_tokens)) if s.snapshots else (n_seqs,)
            shapes |= {f"cache_slots {i}": (n_seqs,), f"state_slots {i}": slots, f"n_valid {i}": (n_seqs,)}
            shapes[f"tails {i}"] = (*slots, self.tail)
            shapes[f"seen {i}"] = (n_seqs, n_tokens if s.whole else 0)
        return shapes

    def tensors(self) -> StepTensors:
        made, at = {}, 0
        for name, shape in self._shapes().items():
            made[name] = Tensor(DType.I32, Layout.contiguous(shape, at), self.storage)
            at += int(np.prod(shape))
        if self.shape.moves_on:
            made |= {f"out_{name}": made[name] for name in ("ids", "pos", "cache_rows", "window_rows")}
        firsts = self.shape.firsts
        groups = tuple(self._group(made, i, firsts[i], *group) for i, group in enumerate(self.shape.groups))
        logits, parts = self.logits and self.logits.tensor(), {n: t for n, t in made.items() if " " not in n}
        return StepTensors(self.shape, groups=groups, logits=logits, n_window_rows=self.n_window_rows, **parts)

    def _group(self, made: dict[str, Tensor], i: int, first: int, n_seqs: int, n_tokens: int) -> GroupTensors:
        pos = made["pos"].slice(0, first, first + n_seqs * n_tokens).reshape(n_seqs, n_tokens)
        parts = (made[f"{name} {i}"] for name in ("cache_slots", "state_slots", "n_valid", "tails"))
        seen = made[f"seen {i}"] if self.shape.whole else pos
        return GroupTensors(n_seqs, n_tokens, first, pos, seen, *parts)

    def fill(
        self,
        groups: Sequence[Sequence[Chunk]],
        n_ctx: int,
        out_rows: Sequence[int] = (),
        settings: np.ndarray | None = None,
        wants: bool = True,
    ) -> np.ndarray:
        """The step buffer's content: for each group at most its n_seqs chunks of at most n_tokens tokens.

        out_rows: whose logits are wanted, unless all are. settings: a row of N_SETTINGS for all drawn tokens, or one
        for each, of those that are drawn. wants: will the logits be read? No two chunks are of one slot.
        """
        part = {name: np.full(shape, -1, np.int32) for name, shape in self._shapes().items()}
        for name in ("ids", "out_rows", "settings"):
            part[name][:] = 0
        part["source"][:] = any(c.embeddings is not None for chunks in groups for c in chunks)
        part["wants"][:] = wants
        slots = [c.slot for chunks in groups for c in chunks]
        assert len(slots) == len(set(slots)), slots  # a kernel may read a cache while it writes rows of other slots
        for i, chunks in enumerate(groups):
            self._fill_group(part, i, chunks, n_ctx)
        rows = list(range(self.shape.n_rows) if self.shape.n_out == self.shape.n_rows else out_rows)
        part["out_rows"][: len(rows)] = rows
        if len(part["out_pos"]):
            part["out_pos"][: len(rows)] = part["pos"][rows]
        if settings is not None:
            part["settings"][: len(settings) if settings.ndim == 2 else None] = settings
        return np.concatenate([p.reshape(-1) for p in part.values()])

    def _fill_group(self, part: dict[str, np.ndarray], i: int, chunks: Sequence[Chunk], n_ctx: int) -> None:
        (n_seqs, n_tokens), first = self.shape.groups[i], self.shape.firsts[i]
        names = ("cache_slots", "state_slots", "n_valid", "tails")
        cache_slots, state_slots, n_valid, tails = (part[f"{name} {i}"] for name in names)
        n_valid[:], tails[:] = 0, np.arange(self.tail)
        assert len(chunks) <= n_seqs
        for b, chunk in enumerate(chunks):
            n, row = len(chunk.ids), first + b * n_tokens
            pos = np.arange(chunk.pos, chunk.pos + n)
            part["ids"][row : row + n], part["pos"][row : row + n] = chunk.ids, pos
            part["cache_rows"][row : row + n] = chunk.slot * n_ctx + pos
            if ring := self.n_window_rows:
                part["window_rows"][row : row + n] = chunk.slot * ring + pos % ring
            cache_slots[b], n_valid[b] = chunk.slot, n
            part[f"seen {i}"][b, :n] = chunk.pos + n - 1
            own = chunk.slot if chunk.state_slot is None else chunk.state_slot
            ends = np.array([n, *(min(SPAN * (s + 1), n) for s in range(n_spans(n_tokens)))])
            columns = state_slots[b : b + 1].reshape(-1)
            columns[: 1 + len(chunk.snapshots)] = own, *chunk.snapshots
            tails[b].reshape(len(columns), self.tail)[:] += ends[: len(columns), None].astype(np.int32)
