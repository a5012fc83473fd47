"""How long streams wait while prompts are read beside them, on a device whose every step takes what a script says."""

import random
from dataclasses import dataclass, field
from statistics import median

import pytest
from vkrun.runtime.engine import scheduler as scheduling
from vkrun.runtime.engine.copies import Pair
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.sizes import GPU, SOFTWARE, StepSizes
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.pretend_device import PretendRunner, Tokens

N_STREAMS, N_CTX = 8, 4096
GREEDY = SamplerSettings(temp=0)


@dataclass(frozen=True)
class Costs:
    """Seconds: of a step, of a stream's token, of a chunk in a step and of each of its tokens, of a copy; of how many
    steps in a hundred one takes three times as long."""

    step: float
    row: float
    chunk: float
    token: float
    copy: float
    late: int = 0


@dataclass
class Clocked(PretendRunner):
    costs: Costs = field(default_factory=lambda: Costs(0, 0, 0, 0, 0))
    now: float = 1.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, chunks: list[Chunk]) -> list[Tokens]:  # type: ignore[override]
        reads = [len(c.ids) for c in chunks if len(c.ids) > 1]
        c = self.costs
        taken = c.step + c.row * (len(chunks) - len(reads)) + c.chunk * bool(reads) + c.token * sum(reads)
        self.now += taken * (3 if self.chance.random() < c.late / 100 else self.chance.uniform(0.95, 1.05))
        return super().run(chunks)

    def copy(self, state: Pair | None = None, caches: Pair | None = None, n: int = 0) -> None:
        self.now += self.costs.copy
        super().copy(state, caches, n)


class Streams:
    """Streams that go on for ever, and prompts that come beside them."""

    def __init__(self, costs: Costs, sizes: StepSizes, monkeypatch: pytest.MonkeyPatch) -> None:
        n = N_STREAMS + 1
        self.runner = Clocked(n, 40, N_CTX, sizes, costs=costs)
        monkeypatch.setattr(scheduling.time, "perf_counter", lambda: self.runner.now)
        self.scheduler = Scheduler(self.runner, Slots(n, 40, None))  # type: ignore[arg-type]
        self._alone()
        self.all = [self._join([i, 1, 2], N_CTX - 10) for i in range(N_STREAMS)]
        self.last = 0.0

    def _alone(self) -> None:
        """A prompt with nobody beside it."""
        s = self._join([i % 40 for i in range(1000)], 1)
        while not s.ended:
            self.scheduler.step()

    def _join(self, prompt: list[int], n: int) -> Sequence:
        s = Sequence(prompt, GREEDY, n)
        self.scheduler.join(s)
        return s

    def gaps(self, n: int) -> list[float]:
        """The next n, of all of them alike, and who waits for a token until then."""
        return [self._gap() for _ in range(n)]

    def _gap(self) -> float:
        while not all(s.out for s in self.all):
            assert not any(s.ended and not s.out for s in self.all), "a stream's context is full"
            self.scheduler.step()
        for s in self.all:
            s.out.popleft()
        last, self.last = self.last, self.runner.now
        return self.last - last

    def read(self, n: int, seed: int) -> tuple[list[float], float]:
        """A prompt of n tokens: the gaps while it is read, and seconds to its first token."""
        rng, start, found = random.Random(seed), self.runner.now, []
        s = self._join([rng.randrange(40) for _ in range(n)], 1)
        while not s.ended:
            found.append(self._gap())
        return found, self.runner.now - start


DEVICES = {
    "two cores": (Costs(0.008, 0.003, 0.004, 0.0008, 0.002), SOFTWARE),
    "two cores, others busy": (Costs(0.008, 0.003, 0.004, 0.0008, 0.002, late=4), SOFTWARE),
    "a card": (Costs(0.004, 0.0008, 0.004, 0.00002, 0.0001), GPU),
    "slow copies": (Costs(0.008, 0.003, 0.004, 0.0008, 0.010), SOFTWARE),
}


@pytest.mark.parametrize("name", DEVICES)
def test_a_gap_stays_below_twice_the_usual(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    costs, sizes = DEVICES[name]
    streams = Streams(costs, sizes, monkeypatch)
    streams.gaps(30)
    usual = median(streams.gaps(50))
    found: list[float] = []
    for i, n in enumerate((64, 300, 1000, 500, 1000)):
        made, first = streams.read(n, i)
        found += made
        streams.gaps(40)
    found.sort()
    assert median(found) < 2 * usual and found[int(0.95 * len(found))] < 2 * usual * (1.6 if costs.late else 1)
    alone = costs.step + costs.chunk + 1000 * costs.token
    assert first < 8 * alone + 1000 / 8 * (usual + costs.chunk + 8 * costs.token)


def test_where_what_fits_is_slow_a_few_long_steps_stand_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card on which a chunk takes long to begin: no prompt is read token by token, and the mean gap holds."""
    costs = Costs(0.01, 0.0, 0.03, 0.00001, 0.0)
    streams = Streams(costs, GPU, monkeypatch)
    for i in range(5):
        streams.read(300, i)  # in steps that may be longer, and from which more is learned
    usual = median(streams.gaps(50))
    made, first = streams.read(2000, 9)
    assert first < 25 * (costs.step + costs.chunk + 2000 * costs.token)
    assert sum(made) / len(made) < 2 * usual and max(made) < 6 * usual
