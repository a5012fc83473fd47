"""A server on a card that is not there: the scheduler, its pace and what is planned ahead, on a clock of their own, by
what steps of so many rows took on an H100 with the 80B shape."""

import heapq
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from vkrun.runtime.engine.at_hand import AtHand
from vkrun.runtime.engine.copies import Pair
from vkrun.runtime.engine.likely import likely
from vkrun.runtime.engine.parked import Parked
from vkrun.runtime.engine.runner import Group, Wanted, planned_groups
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence as Generation
from vkrun.runtime.engine.sizes import GPU
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.engine.ways import Way, Ways
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.pretend_device import PretendRun, PretendRunner, Tokens

# milliseconds of a step by its rows
ROWS = {1: 2.0, 4: 5.1, 8: 7.0, 16: 14.9, 24: 18.5, 32: 22.0, 64: 30.0, 128: 38.0, 256: 50.0, 512: 70.0, 2048: 143.0}
N_PLANNERS, PLAN, STATE, COPY = 3, 0.3, 0.068, 0.0003  # seconds: a plan, a state to the host or back, on the device
STATE_NBYTES, ROW_NBYTES = 75 << 20, 24 << 10
N_CACHES, N_STATES, N_CTX = 33, 71, 1536
GREEDY = SamplerSettings(temp=0)

Came = Callable[[float, list[float]], None]  # told when an answer was asked for, and when each of its tokens came


@dataclass(frozen=True)
class Taken:
    """What all waited for: a step with its rows and those of them that were used, or something else."""

    at: float
    seconds: float
    what: str
    groups: tuple[tuple[int, int], ...] = ()
    n_used: int = 0


class Planning:
    """Stands in for runtime/engine/ahead.py: plans are there as the clock goes."""

    def __init__(self, card: "Card", shapes: Sequence[StepShape]) -> None:
        self._card, self.ends, self._free = card, {}, [card.now] * N_PLANNERS
        for shape in shapes:
            self.want(shape)

    def want(self, shape: StepShape) -> None:
        if shape not in self.ends and shape not in self._card.shapes:
            self.ends[shape] = heapq.heappop(self._free) + PLAN
            heapq.heappush(self._free, self.ends[shape])

    def is_over(self, shape: StepShape) -> bool:
        return self.ends.get(shape, 0.0) <= self._card.now

    def begun(self, done: bool) -> list[StepShape]:
        now = self._card.now
        return [s for s, end in self.ends.items() if (end <= now if done else now < end <= now + PLAN)]

    def waiting(self) -> list[StepShape]:
        return [s for s, end in self.ends.items() if end > self._card.now + PLAN]


class Card(PretendRunner):
    """Runner and engine."""

    def __init__(self) -> None:
        super().__init__(N_CACHES, N_STATES, N_CTX, GPU, row_nbytes=ROW_NBYTES)
        self.now, self.taken, self.shapes = 1.0, list[Taken](), list[StepShape]()
        self.device = SimpleNamespace(info=SimpleNamespace(is_software=False))
        room, params = SimpleNamespace(n_caches=N_CACHES, n_ctx=N_CTX), SimpleNamespace(n_vocab=999)
        self.model: Any = SimpleNamespace(capacity=room, causal=True, states=[1], params=params)
        self.foresight = Planning(self, likely(self.model, GPU))
        self._at_hand, self._ways = AtHand(self), Ways(self)  # type: ignore[arg-type]
        self._stepped: set[StepShape] = set()

    @property
    def state_nbytes(self) -> int:
        return STATE_NBYTES

    def pass_by(self, seconds: float, what: str, groups: tuple[tuple[int, int], ...] = (), n_used: int = 0) -> None:
        self.taken.append(Taken(self.now, seconds, what, groups, n_used))
        self.now += seconds

    def planned(self) -> list[StepShape]:
        return self.shapes

    def is_planned(self, shape: StepShape) -> bool:
        return shape in self.shapes

    def ready(self, shape: StepShape) -> StepShape:
        if shape not in self.shapes:
            end = self.foresight.ends.pop(shape, self.now + PLAN)
            if end > self.now:
                self.pass_by(end - self.now, "plan", shape.groups)
            self.shapes.append(shape)
        return shape

    def kv_size(self, needed: int) -> int:
        return min(N_CTX, max(256, 1 << (needed - 1).bit_length()))

    def way(self, unread: Sequence[int], most: int, n_beside: int, n_held: int) -> Way:
        return self._ways.choose(self.sizes, unread, most, n_beside, self.kv_size(n_held))

    def step(self, groups: Sequence[Group], wanted: Sequence[Wanted | None]) -> list[int | None]:  # type: ignore[override]
        shape: Any = self._at_hand.ready(self._shape(groups), 1)
        self.was_new, self.began = shape not in self._stepped, self.now
        self._stepped.add(shape)
        self.runs(shape, [c for chunks, _ in groups for c in chunks])
        return [7 if want else None for want in wanted]

    def decode(self, chunks: Sequence[Chunk], choices: Any, limit: int) -> PretendRun:
        shape: Any = self._at_hand.ready(self._shape([(chunks, 1)]))
        return PretendRun(Decoding(self, shape), list(chunks), limit)  # type: ignore[arg-type]

    def runs(self, shape: StepShape, chunks: Sequence[Chunk]) -> list[Tokens]:
        ms = float(np.interp(shape.n_rows, list(ROWS), list(ROWS.values())))
        self.pass_by(ms / 1e3, "step", shape.groups, sum(len(c.ids) for c in chunks))
        return [()] * len(chunks)

    def copy(self, state: Pair | None = None, caches: Pair | None = None, n: int = 0) -> None:
        self.pass_by(COPY, "copy")

    def take_state(self, state: int) -> list[np.ndarray]:
        self.pass_by(STATE, "parking")
        return [np.zeros(1)]

    def put_state(self, state: int, arrays: Sequence[np.ndarray]) -> None:
        self.pass_by(STATE, "restoring")

    def _shape(self, groups: Sequence[Group]) -> StepShape:
        shapes = planned_groups(groups)
        n_kv = self.kv_size(max(c.pos + len(c.ids) for chunks, _ in groups for c in chunks))
        snapshots = any(self.takes_snapshots(size) for _, size in shapes)
        return StepShape(shapes, n_kv, sum(n for n, _ in shapes), 1, snapshots=snapshots)


@dataclass
class Decoding:
    card: Card
    shape: StepShape

    def run(self, chunks: Sequence[Chunk]) -> list[Tokens]:
        return self.card.runs(self.shape, chunks)


@dataclass
class Server:
    """Whose clients ask as the clock goes, never the same twice."""

    card: Card = field(default_factory=Card)
    max_gap: float | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        slots = Slots(N_CACHES, N_STATES, Parked(self.card, 8 << 30))
        self._scheduler, self._live = Scheduler(self.card, slots), dict[Generation, tuple[float, list[float], Came]]()  # type: ignore[arg-type]
        self._scheduler.hold_gaps(self.max_gap)
        self._later: list[tuple[float, int, Callable[[], None]]] = []

    @contextmanager
    def clock(self) -> Iterator[None]:
        with patch.object(time, "perf_counter", lambda: self.card.now):
            yield

    def ask(self, after: float, n_prompt: int, n: int, came: Came) -> None:
        """In so many seconds."""

        def now() -> None:
            s = Generation([self.rng.randrange(900) for _ in range(n_prompt)], GREEDY, n, cache_prompt=False)
            self._scheduler.join(s)
            self._live[s] = self.card.now, [], came

        heapq.heappush(self._later, (self.card.now + after, id(now), now))

    def go(self, until: Callable[[], bool]) -> None:
        while not until():
            self.card.now = self.card.now if self._live else max(self.card.now, self._later[0][0])
            while self._later and self._later[0][0] <= self.card.now:
                heapq.heappop(self._later)[2]()
            self._scheduler.step()
            for s in list(self._live):
                self._read(s)

    def _read(self, s: Generation) -> None:
        asked, times, came = self._live[s]
        times += [self.card.now] * len(s.out)
        s.out.clear()
        if s.error:
            raise s.error
        if s.ended:
            del self._live[s]
            came(asked, times)

    def at_once(self, n: int, n_prompt: int, n_tokens: int, rounds: int = 1) -> tuple[float, list[float]]:
        """n clients, each of whom asks again where its answer ends: tokens a second, seconds to each first token."""
        firsts, left, start = list[float](), [n * (rounds - 1)], self.card.now

        def came(asked: float, times: list[float]) -> None:
            firsts.append(times[0] - asked)
            left[0] -= 1
            if left[0] >= 0:
                self.ask(self.rng.uniform(0.002, 0.012), n_prompt, n_tokens, came)

        for i in range(n):
            self.ask(0.0005 * i, n_prompt, n_tokens, came)
        self.go(lambda: len(firsts) == n * rounds)
        return n * rounds * n_tokens / (self.card.now - start), firsts

    def stream(self, n: int, gaps: list[tuple[float, float]]) -> None:
        """n answers that go on for ever; gaps: when each ended, and seconds."""

        def came(_asked: float, times: list[float]) -> None:
            gaps.extend((b, b - a) for a, b in pairwise(times))
            self.ask(0.0, 4, 400, came)

        for _ in range(n):
            self.ask(0.0, 4, 400, came)

    def beside(self, n_prompt: int, gaps: list[tuple[float, float]], pause: float = 12.0) -> tuple[float, list[float]]:
        """A prompt beside streams: seconds to its first token, and the gaps in which it was read."""
        spans: list[tuple[float, float]] = []
        self.ask(pause, n_prompt, 1, lambda asked, times: spans.append((asked, times[0])))
        self.go(lambda: bool(spans))
        ((start, end),), until = spans, self.card.now + pause  # till streams have told
        self.go(lambda: self.card.now > until)
        return end - start, [s for at, s in gaps if at > start and at - s < end]
