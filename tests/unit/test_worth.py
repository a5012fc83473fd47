"""What is worth a copy on the host."""

import pytest
from vkrun.runtime.engine import worth as module
from vkrun.runtime.engine.chain import Beginning
from vkrun.runtime.engine.parked import Parked
from vkrun.runtime.engine.worth import LEAST, Worth
from vkrun.tests.pretend_device import PretendRunner


class Clock:
    now = 0.0

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "perf_counter", lambda: made.now)
    return made


def test_while_nothing_is_known_all_is_worth_it(clock: Clock) -> None:
    worth = Worth()
    assert worth.is_worth(1, 1 << 40)
    worth.timed(LEAST, lambda: clock.passes(1.0))
    assert worth.is_worth(1, 1 << 40)  # nobody knows how fast prompts are read
    worth.rereads = lambda n: 0.01 * n
    assert worth.is_worth(201, LEAST) and not worth.is_worth(199, LEAST)


def test_small_copies_tell_nothing_and_a_late_one_little(clock: Clock) -> None:
    worth = Worth()
    worth.rereads = lambda n: 0.01 * n
    worth.timed(LEAST - 1, lambda: clock.passes(9.0))
    assert worth.is_worth(1, LEAST)
    for seconds in (0.1, 5.0):
        worth.timed(LEAST, lambda s=seconds: clock.passes(s))
    assert worth.is_worth(21, LEAST)


def test_what_was_not_worth_it_is_tried_again_some_time(clock: Clock) -> None:
    worth = Worth()
    worth.rereads = lambda n: 0.01 * n
    worth.timed(LEAST, lambda: clock.passes(1.0))
    tries = [worth.is_worth(100, LEAST) for _ in range(900)]
    assert not any(tries[:100]) and any(tries)
    worth.timed(LEAST, lambda: clock.passes(1.0))
    assert not worth.is_worth(100, LEAST)


class Slow(PretendRunner):
    clock: Clock
    n_taken = 0

    @property
    def state_nbytes(self) -> int:
        return LEAST

    def take_state(self, state: int):
        self.n_taken += 1
        self.clock.passes(1.0)
        return super().take_state(state)


def test_states_are_parked_where_reading_on_to_them_takes_longer(clock: Clock) -> None:
    runner = Slow(2, 8)
    runner.clock, runner.states = clock, [tuple(range(n)) for n in (500, 600, 900, 100, 0, 0, 0, 0)]
    parked = Parked(runner, None)
    parked.park(0, Beginning(range(40, 140)), {100: 3})
    assert runner.n_taken == 1
    parked.worth.rereads = lambda n: 0.0066 * n  # of 300 tokens and fewer sooner than out and back
    parked.park(0, Beginning(range(900)), {500: 0, 600: 1, 900: 2})
    assert parked.n_states == 3 and runner.n_taken == 3
    assert sorted(pos for _, pos in parked._states) == [100, 500, 900]
    parked.park(1, Beginning(range(1000, 1200)), {200: 1})
    assert runner.n_taken == 3 and parked.n_tokens == 1000
