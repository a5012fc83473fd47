"""Samplers against a plain reference, by frequency, and at their borders."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.errors import TextError, UsageError
from vkrun.runtime.text.sampler import Sampler, SamplerSettings


def reference(logits: list[float], history: list[int], s: SamplerSettings) -> dict[int, float]:
    """Probability by token, one step after the other as llama.cpp's chain states them, with Python's lists."""
    values = dict(enumerate(logits))
    recent = history if s.repeat_last_n < 0 else history[len(history) - min(s.repeat_last_n, len(history)) :]
    for token in set(recent) & values.keys():
        value = values[token]
        value = value * s.repeat_penalty if value <= 0 else value / s.repeat_penalty
        values[token] = value - recent.count(token) * s.frequency_penalty - s.presence_penalty
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    if s.temp == 0:
        return {ranked[0][0]: 1.0}
    if s.top_k > 0:
        ranked = ranked[: s.top_k]
    top = ranked[0][1]
    if s.top_p < 1:
        total, seen, kept = sum(math.exp(v - top) for _, v in ranked), 0.0, []
        for token, value in ranked:
            kept.append((token, value))
            seen += math.exp(value - top) / total
            if seen >= s.top_p:
                break
        ranked = kept
    if s.min_p > 0:
        ranked = [(token, value) for token, value in ranked if value - top >= math.log(s.min_p)]
    weights = {token: math.exp((value - top) / s.temp) for token, value in ranked}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


# Multiples of 1/8 survive float32 and make ties common.
LOGIT = st.integers(-80, 80).map(lambda n: n / 8)
SETTINGS = st.builds(
    SamplerSettings,
    temp=st.sampled_from([0, 0.1, 0.8, 1.0, 2.5]),
    top_k=st.sampled_from([-1, 0, 1, 2, 5, 40]),
    top_p=st.sampled_from([0.0, 0.131, 0.52, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.0537, 0.31, 1.0]),
    repeat_penalty=st.sampled_from([1.0, 1.25, 0.5]),
    repeat_last_n=st.sampled_from([-1, 0, 1, 3, 64]),
    frequency_penalty=st.sampled_from([0.0, 0.25]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(LOGIT, min_size=1, max_size=200), st.lists(st.integers(0, 200), max_size=20), SETTINGS)
def test_distribution_equals_the_reference(logits: list[float], history: list[int], chosen: SamplerSettings) -> None:
    before = np.array(logits, dtype=np.float32)
    given_logits = before.copy()
    ids, weights = Sampler(chosen).distribution(given_logits, history)
    expected = reference(logits, history, chosen)
    assert dict(zip(ids.tolist(), weights.tolist(), strict=True)) == pytest.approx(expected, rel=1e-9)
    assert ids.tolist() == list(expected)  # the likeliest first, equal ones by id
    assert (given_logits == before).all()


def test_a_large_vocabulary_takes_the_same_candidates() -> None:
    logits = (np.random.default_rng(5).integers(-400, 400, 20_011) / 32).astype(np.float32)
    for chosen in (SamplerSettings(), SamplerSettings(top_k=500, min_p=0, top_p=1), SamplerSettings(top_k=0)):
        ids, weights = Sampler(chosen).distribution(logits)
        expected = reference(logits.tolist(), [], chosen)
        assert ids.tolist() == list(expected)
        np.testing.assert_allclose(weights, list(expected.values()), rtol=1e-9)


@pytest.mark.parametrize(
    "chosen",
    [
        SamplerSettings(temp=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=11),
        SamplerSettings(temp=1.7, top_k=7, top_p=0.9, min_p=0.01, seed=12),
        SamplerSettings(repeat_penalty=1.5, seed=13),
    ],
)
def test_frequencies_fit_the_distribution(chosen: SamplerSettings) -> None:
    """Chi-square of 20,000 draws, below the mean plus five standard deviations; a wrong weight goes far beyond."""
    logits = np.random.default_rng(3).normal(0, 1.5, 30).astype(np.float32)
    history, n = [1, 2, 2, 29], 20_000
    sampler = Sampler(chosen)
    counts = np.bincount([sampler.sample(logits, history) for _ in range(n)], minlength=30)
    expected = np.zeros(30)
    for token, weight in reference(logits.tolist(), history, chosen).items():
        expected[token] = weight * n
    assert not counts[expected == 0].any()
    some = expected > 0
    free = int(some.sum()) - 1
    chi2 = float((((counts - expected) ** 2)[some] / expected[some]).sum())
    assert free > 2 and chi2 < free + 5 * math.sqrt(2 * free)


def test_a_seed_repeats_and_another_does_not() -> None:
    logits = np.zeros(1000, np.float32)
    settings_all = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}

    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(SamplerSettings(**settings_all, seed=seed))
        return [sampler.sample(logits) for _ in range(20)]

    assert draw(7) == draw(7) != draw(8)
    assert draw(None) != draw(None) and draw(-1) != draw(-1)
    places = np.random.Generator(np.random.PCG64(7)).random(20)  # of equally likely tokens, each has its thousandth
    assert draw(7) == [int(place * 1000) for place in places]


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    greedy = Sampler(SamplerSettings(temp=0))
    assert greedy.sample(np.array([1, 3, 2, 3], np.float32)) == 1
    assert greedy.sample(np.zeros(152_000, np.float32)) == 0


def test_biases_are_added_before_all_else() -> None:
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    greedy = SamplerSettings(temp=0, logit_bias=((0, 5.0), (2, -1e6), (99, 7.0)))
    assert Sampler(greedy).sample(logits) == 0 and (logits == [1, 2, 3]).all()
    _, weights = Sampler(SamplerSettings(temp=1, top_k=0, top_p=1, min_p=0, logit_bias=((1, 1.0),))).distribution(
        logits
    )
    np.testing.assert_allclose(weights, np.exp([3, 3, 1]) / np.exp([3, 3, 1]).sum())
    for bad in ((-1, 0.0), (1, math.inf), (1, math.nan), (1, 2e6)):
        with pytest.raises(UsageError, match="logit_bias"):
            SamplerSettings(logit_bias=(bad,))


def test_greedy_sees_the_penalty() -> None:
    sampler = Sampler(SamplerSettings(temp=0, repeat_penalty=2.0, repeat_last_n=2))
    logits = np.array([4.0, 3.0, -1.0], np.float32)
    assert [sampler.sample(logits, history) for history in ([], [0], [0, 2, 2], [1, 0])] == [0, 1, 0, 0]
    negative = np.array([-1.0, -1.5], np.float32)
    assert sampler.sample(negative, [0]) == 1


def test_tiny_temperatures_do_not_overflow() -> None:
    logits = np.array([5.0, 4.0, -3e38, 3e38], np.float32)
    assert Sampler(SamplerSettings(temp=1e-300, min_p=0, top_p=1)).sample(logits) == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temp", [0.0, 0.8])
def test_logits_that_are_not_finite_are_named(bad: float, temp: float) -> None:
    logits = np.array([1.0, bad, 2.0], np.float32)
    with pytest.raises(TextError, match=rf"logits: {bad} for token 1 \(1 of 3 not finite\)"):
        Sampler(SamplerSettings(temp=temp)).sample(logits)


@pytest.mark.parametrize("shape", [(0,), (2, 3), ()])
def test_logits_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(TextError, match=r"logits: shape .* expected \(n_vocab,\)"):
        Sampler().sample(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temp", -0.1),
        ("temp", math.nan),
        ("temp", math.inf),
        ("temp", "hot"),
        ("top_k", 1.5),
        ("top_k", True),
        ("top_p", 1.1),
        ("top_p", -0.1),
        ("min_p", 2),
        ("repeat_penalty", 0),
        ("repeat_penalty", math.nan),
        ("repeat_last_n", -2),
        ("frequency_penalty", math.inf),
        ("seed", -2),
        ("seed", 1.0),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .*expected an? (number|integer) from") as caught:
        SamplerSettings(**{name: value})  # pyright: ignore[reportArgumentType]
    assert repr(value) in str(caught.value)


def test_defaults_are_llama_cpps() -> None:
    chosen = SamplerSettings()
    assert (chosen.temp, chosen.top_k, chosen.top_p, chosen.min_p) == (0.8, 40, 0.95, 0.05)
    assert (chosen.repeat_penalty, chosen.repeat_last_n, chosen.seed) == (1.0, 64, None)


def test_sampling_a_large_vocabulary_is_fast() -> None:
    logits = np.random.default_rng(0).normal(0, 3, 152_000).astype(np.float32)
    sampler = Sampler(SamplerSettings(seed=1))
    times = []
    for _ in range(30):
        start = time.perf_counter()
        sampler.sample(logits)
        times.append(time.perf_counter() - start)
    assert min(times) < 2e-3  # 0.2 ms on a free core


def test_top_p_stops_where_the_sum_is_reached_exactly() -> None:
    ids, weights = Sampler(SamplerSettings(temp=1.0, top_p=0.5, min_p=0)).distribution(np.zeros(4, np.float32))
    assert ids.tolist() == [0, 1] and weights.tolist() == [0.5, 0.5]
