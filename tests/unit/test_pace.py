"""How much of prompts is read beside those that decode, by what steps took."""

import pytest
from vkrun.runtime.engine.pace import LONGEST, USUAL_GAPS, Pace
from vkrun.runtime.engine.sizes import BESIDE_OTHERS, GPU


def reads(gap: float, a_token: float, start: float = 0.0, n: int = 4) -> list[int]:
    """Tokens of prompts in each of 200 steps on a device that takes `gap` seconds for those that decode, and beside
    them `start` and `a_token` for each token of prompts."""
    pace, taken = Pace(GPU), []
    for _ in range(5):
        pace.took(gap, 0, n)
    for _ in range(200):
        taken.append(pace.most(n))
        pace.took(gap + start + a_token * taken[-1], taken[-1], n)
    return taken


def test_nothing_is_known_at_first() -> None:
    assert Pace(GPU).most(3) == BESIDE_OTHERS


@pytest.mark.parametrize("a_token", [1e-4, 1e-3, 5e-3])
def test_a_gap_stays_below_twice_the_usual(a_token: float) -> None:
    taken = reads(0.1, a_token)
    assert taken[0] == 1  # nobody knows yet what it takes
    assert sum(a_token * n > 0.1 for n in taken) <= 200 // 20  # to find out again, by a size more
    assert all(a_token * n <= 0.4 for n in taken)
    assert sorted(taken)[100] > (LONGEST * USUAL_GAPS - 1) * 0.1 / a_token / 8 or sorted(taken)[100] == BESIDE_OTHERS


def test_a_device_that_takes_no_less_for_fewer_reads_as_many_as_fit() -> None:
    assert reads(0.1, 1e-5, start=0.05)[-1] == BESIDE_OTHERS


def test_where_nothing_fits_the_least_is_read() -> None:
    taken = reads(0.01, 0.0, start=0.5)
    assert taken.count(1) >= 195 and max(taken) <= 8


def test_a_single_late_step_is_forgotten() -> None:
    pace = Pace(GPU)
    pace.took(0.1, 0, 4)
    for size in (1, 8, 8):
        pace.took(0.11, size, 4)
    pace.took(2.0, 64, 4)
    found = []
    for _ in range(800):
        found.append(pace.most(4))
        pace.took(0.1 + found[-1] * 1e-3, found[-1], 4)
    assert found[0] == 16 and found[-1] == 64


def test_more_that_decode_have_a_gap_of_their_own() -> None:
    pace = Pace(GPU)
    pace.took(0.01, 0, 1)
    pace.took(0.1, 0, 8)
    pace.took(0.01, 1, 1)
    pace.took(0.03, 8, 1)
    assert pace.most(1) == 1 and pace.most(8) == 16


# milliseconds of a step of an H100, of the 80B shape, beside 8 sequences that decode, by tokens of prompts
CARD = {0: 7.2, 1: 8.0, 8: 12.7, 16: 12.6, 32: 24.5, 64: 26.0, 128: 27.0, 256: 34.0, 512: 44.0, 1024: 65.0}


@pytest.mark.parametrize(("n_readers", "longest"), [(1, 16), (4, 512)])
def test_beside_a_lone_prompt_each_gap_holds_where_it_can(n_readers: int, longest: int) -> None:
    """For others that wait for theirs, long steps are taken."""
    pace, taken = Pace(GPU), []
    pace.took_alone(0.0415, 512, 512)
    for _ in range(600):
        pace.took(1e-3 * CARD[0], 0, 8)
        taken.append(pace.most(8, 8 + n_readers))
        pace.rested(8)
        if taken[-1]:
            pace.took(1e-3 * CARD[taken[-1]], taken[-1], 8)
    read = [n for n in taken[-400:] if n]
    assert max(set(read), key=read.count) == longest
    assert n_readers > 1 or sum(CARD[n] >= 2 * CARD[0] for n in read) <= len(read) // 200


@pytest.mark.parametrize(("max_gap", "longest"), [(2.0, 16), (4.0, 128)])
def test_a_gap_that_must_not_be_longer_holds_whoever_waits(max_gap: float, longest: int) -> None:
    pace, taken = Pace(GPU), []
    pace.max_gap = max_gap
    pace.took_alone(0.0415, 512, 512)
    for _ in range(600):
        pace.took(1e-3 * CARD[0], 0, 8)
        taken.append(pace.most(8, 8 + 4))
        pace.took(1e-3 * CARD[taken[-1]], taken[-1], 8)
    read = taken[-400:]
    assert max(set(read), key=read.count) == longest
    assert sum(CARD[n] > max_gap * CARD[0] for n in read) <= len(read) // 200
