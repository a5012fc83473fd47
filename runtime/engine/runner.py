"""Runner: what a scheduler asks of a device: a step of some groups of chunks, runs of decoding, copies of slots."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import TextError
from ..ir.composites.slots import SPAN
from ..ir.ops.sampling import N_SETTINGS
from ..models.step import RING, Chunk, StepShape
from .at_hand import STEPS, AtHand
from .choice import TokenChoice, not_finite
from .copies import Pair, SlotCopies
from .decode import DecodeRun, batch_size
from .engine import Engine, Ready
from .masks import MaskedDraws, MaskedRun
from .transfers import Transfers
from .ways import Way, Ways

Group = tuple[Sequence[Chunk], int]  # chunks, and the planned number of tokens of each


@dataclass(frozen=True)
class Wanted:
    """How the token after some ids is to be chosen."""

    choice: TokenChoice
    ids: list[int]


Chosen = int | TextError | None  # a token, why there is none, or nothing that was wanted


class Runner:
    """An engine's steps for sequences whose slots a scheduler gave out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.n_ctx, self.sizes = engine.model.capacity.n_ctx, engine.sizes
        self._stepped: set[StepShape] = set()
        self.was_new = False  # did the latest step run for the first time, with all that drivers then do?
        self.began = 0.0  # when the latest step was planned and began
        self._copies = SlotCopies(engine)
        made = Transfers(engine)
        self.widths, self.rings = (made.rows, made.states, made.ring_rows), made.rings
        self.row_nbytes, self.ring_nbytes, self.state_nbytes = made.row_nbytes, made.ring_nbytes, made.state_nbytes
        self.take_keys, self.put_keys = made.take_keys, made.put_keys
        self.take_rings, self.put_rings = made.take_rings, made.put_rings
        self.take_state, self.put_state = made.take_state, made.put_state
        self._draws, self._at_hand = MaskedDraws(engine), AtHand(engine)
        self._ways = Ways(engine)

    def copy(self, state: Pair | None = None, caches: Pair | None = None, n: int = 0) -> None:
        """A state slot to another one, and at least the first n keys and values of a cache slot to another one, of a
        ring all that it holds, where the model has such: one submission."""
        self._copies.copy(state, caches, self._engine.kv_size(n) if n else 0)

    def clear_keys(self, cache: int) -> None:
        """Zeros for all keys and values of a cache slot."""
        for s in self._engine.model.caches:
            n_rows, kind = s.n_elements // s.shape[0] // s.shape[-1], s.dtype.numpy
            zeros = np.zeros((n_rows, s.dtype.nbytes(s.shape[-1]) // kind.itemsize), kind)
            self._engine.device.write(s, zeros, row=cache * n_rows)

    def takes_snapshots(self, n_tokens: int) -> bool:
        """May chunks of this planned size keep states at the ends of their spans?"""
        return bool(self._engine.model.states) and n_tokens >= SPAN

    def decode(self, chunks: Sequence[Chunk], choices: Sequence[TokenChoice], limit: int) -> DecodeRun:
        """Up to `limit` steps of chunks of one token, each next one drawn on the device, which all choices allow."""
        if any(c.constraint for c in choices):
            return MaskedRun(self._engine, chunks, choices, limit, self._draws)
        rows = np.stack([c.row for c in choices])
        n_drawn = max(c.n_drawn for c in choices)
        run = DecodeRun(self._engine, chunks, rows, n_drawn, limit, ready=self._at_hand.ready)
        run.n_left = run.n_left if run.is_own else min(run.n_left, STEPS)
        self._at_hand.foresee(run.shape, max(c.pos for c in chunks) + run.n_left)
        return run

    def step(self, groups: Sequence[Group], wanted: Sequence[Wanted | None]) -> list[Chosen]:
        """One run; what was chosen after each of the groups' chunks, one after the other, where it was wanted."""
        asked = [want for want in wanted if want]
        n_drawn, held = _n_drawn(asked), any(w.choice.constraint for w in asked)
        ready = self._ready(groups, n_drawn, rests=held and n_drawn > 0)
        shape = ready.inputs.shape
        rows = [row for row, want in zip(_last_rows(groups, shape), wanted, strict=True) if want]
        self.was_new = shape not in self._stepped
        self._stepped.add(shape)
        self.began = time.perf_counter()
        places = rows if shape.n_out == shape.n_rows else list(range(len(rows)))  # among the rows of logits
        settings = np.zeros((shape.n_out, N_SETTINGS), np.int32)
        settings[places] = np.array([w.choice.row for w in asked]).reshape(-1, N_SETTINGS)
        filled = ready.inputs.fill(
            [chunks for chunks, _ in groups],
            self.n_ctx,
            rows,
            settings if shape.n_drawn else None,
            bool(asked),
        )
        self._engine.device.write(ready.inputs.storage, filled)
        ready.program.submit()
        n_vocab = self._engine.model.params.n_vocab
        masks = [want.choice.mask(n_vocab) for want in asked] if held else []  # while the device works
        made = self._made(ready, dict(zip(places, masks, strict=False)), bool(asked))
        of_each = zip(places, asked, masks or [None] * len(asked), strict=True)
        chosen = iter([_one(made[i], want, n_drawn > 0, mask) for i, want, mask in of_each])
        return [next(chosen) if want else None for want in wanted]

    def _made(self, ready: Ready, masks: dict[int, np.ndarray], wanted: bool) -> np.ndarray:
        """What a step under way gives: its logits or the ring of drawn tokens. masks: by the row of logits."""
        if ready.inputs.shape.rests:
            drawing = self._draws.of(ready)
            drawing.submit(masks)
            made = drawing.read(ready)
        else:
            ready.program.wait()
            made = ready.program.read(ready.output) if wanted else np.empty(0)
        self._engine.ran()
        return made

    def logits(self, cache: int, state: int, ids: list[int], hidden: bool = False) -> np.ndarray:
        """float32 [len(ids), n_vocab]: the logits after each of a new sequence's tokens; hidden: as Engine.prompt's."""
        return self._engine.prompt(cache, 0, ids, True, None if state < 0 else state, hidden)

    def get_ready(self) -> None:
        """Plan what every sequence needs."""
        self._copies.get_ready()

    def adopt(self, seconds: float) -> bool:
        """While nothing else is to be done: get ready for one of the likely sizes, waiting for so long at most. False
        once there are no more."""
        ahead = self._engine.foresight
        return ahead is not None and ahead.adopt(seconds)

    def way(self, unread: Sequence[int], most: int, n_beside: int, n_held: int) -> Way:
        """How a step is to read prompts, see Ways.choose. n_held: tokens of the longest sequence after it."""
        return self._ways.choose(self.sizes, unread, most, n_beside, self._engine.kv_size(n_held))

    def close(self) -> None:
        self._copies.close()
        self._draws.close()

    def _ready(self, groups: Sequence[Group], n_drawn: int, rests: bool) -> Ready:
        engine, n_held = self._engine, max(c.pos + len(c.ids) for chunks, _ in groups for c in chunks)
        shapes = planned_groups(groups)
        shape = StepShape(
            shapes,
            engine.kv_size(n_held),
            sum(n for n, _ in shapes),
            min(n_drawn, engine.model.params.n_vocab),
            snapshots=any(self.takes_snapshots(n) for _, n in shapes),
            rests=rests,
        )
        ready = self._at_hand.ready(shape, 1)
        self._at_hand.foresee(ready.inputs.shape, n_held)
        return ready


def _n_drawn(asked: Sequence[Wanted]) -> int:
    """Candidates of a token drawn on the device, some where none is wanted, so that no size is planned for that alone;
    0 where one has to be chosen on the host."""
    return max((w.choice.n_drawn for w in asked), default=1) if all(w.choice.on_device for w in asked) else 0


def planned_groups(groups: Sequence[Group]) -> tuple[tuple[int, int], ...]:
    """Sequences and tokens of each group, as planned."""
    return tuple((batch_size(len(chunks)), n) for chunks, n in groups)


def _last_rows(groups: Sequence[Group], shape: StepShape) -> list[int]:
    """For each chunk the row of the step that holds its last token."""
    rows, first = [], 0
    for (chunks, n), (n_seqs, _) in zip(groups, shape.groups, strict=True):
        rows += [first + b * n + len(c.ids) - 1 for b, c in enumerate(chunks)]
        first += n_seqs * n
    return rows


def _one(made: np.ndarray, want: Wanted, drawn: bool, mask: np.ndarray | None) -> Chosen:
    """made: of one row, the ring of drawn tokens or else the logits."""
    if want.choice.failed:
        return want.choice.failed
    try:
        if not drawn:
            return want.choice.choose(made, want.ids, mask)
        token = int(made[(len(want.ids) - 1) % RING])
        return token if token >= 0 else not_finite(len(want.ids))
    except TextError as error:
        return error
