"""Many clients at once on a pretended card: prompts are read in chunks that pay, none trickles in by a token a step."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from vkrun.runtime.engine import scheduler as scheduling
from vkrun.runtime.engine.runner import Group, Wanted
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.sizes import GPU, StepSizes
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.pretend_device import PretendRunner, Tokens

N_CLIENTS, N_PROMPT, N_TOKENS, ROUNDS = 32, 512, 64, 2
SECONDS = 60.0  # of the card, after which it gives up
GREEDY = SamplerSettings(temp=0)
# milliseconds of a step of so many rows on an H100, of the 80B shape; a long chunk costs its start and little more
ROWS = {1: 2.5, 2: 3.6, 4: 5.0, 8: 6.8, 16: 9.0, 32: 10.8, 64: 22.0}
A_TOKEN = 0.0425


def milliseconds(n_read: int, n_ones: int) -> float:
    rows = n_read + n_ones
    few = next((ms for n, ms in ROWS.items() if rows <= n), ROWS[64])
    return few if n_read < 64 else 22.0 + A_TOKEN * (n_read - 64) + 0.1 * n_ones


@dataclass
class Card(PretendRunner):
    sizes: StepSizes = GPU
    now: float = 1.0
    n_trickled: int = 0  # tokens of prompts read one a step while more of them were unread

    def run(self, chunks: list[Chunk]) -> list[Tokens]:  # type: ignore[override]
        n_read = sum(len(c.ids) for c in chunks if len(c.ids) > 1)
        self.now += 1e-3 * milliseconds(n_read, sum(len(c.ids) == 1 for c in chunks))
        return super().run(chunks)

    def step(self, groups: list[Group], wanted: list[Wanted | None]):  # type: ignore[override]
        chunks = [c for group, _ in groups for c in group]
        self.n_trickled += sum(len(c.ids) == 1 and want is None for c, want in zip(chunks, wanted, strict=True))
        return super().step(groups, wanted)


@dataclass
class Clients:
    """Each asks again where its answer ends."""

    runner: Card
    scheduler: Scheduler
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    n_read: Counter[Sequence] = field(default_factory=Counter)  # tokens of each answer

    def ask(self) -> Sequence:
        s = Sequence([self.rng.randrange(50) for _ in range(N_PROMPT)], GREEDY, N_TOKENS, cache_prompt=False)
        self.scheduler.join(s)
        return s

    def answer_all(self) -> float:
        """Tokens a second."""
        start, left, live = self.runner.now, N_CLIENTS * (ROUNDS - 1), [self.ask() for _ in range(N_CLIENTS)]
        while live and self.runner.now - start < SECONDS:
            self.scheduler.step()
            for s in live:
                self.n_read[s] += len(s.out)
                s.out.clear()
            over = [s for s in live if s.ended]
            live = [s for s in live if not s.ended] + [self.ask() for _ in over[:left]]
            left -= len(over[:left])
        return sum(self.n_read.values()) / (self.runner.now - start)


def test_prompts_of_many_clients_do_not_trickle_in(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Card(N_CLIENTS + 1, 100, 1024)
    monkeypatch.setattr(scheduling.time, "perf_counter", lambda: runner.now)
    clients = Clients(runner, Scheduler(runner, Slots(N_CLIENTS + 1, 100, None)))  # type: ignore[arg-type]
    made = clients.answer_all()
    prompts, decoding = N_CLIENTS * milliseconds(N_PROMPT, 0), N_TOKENS * milliseconds(0, N_CLIENTS)
    best = N_CLIENTS * N_TOKENS / (prompts + decoding) * 1e3
    assert set(clients.n_read.values()) == {N_TOKENS} and len(clients.n_read) == N_CLIENTS * ROUNDS
    assert made > 0.7 * best
    assert runner.n_trickled < 0.005 * N_CLIENTS * ROUNDS * N_PROMPT
