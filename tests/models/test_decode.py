"""Tokens drawn on the device, a step ahead of the host."""

import numpy as np
import pytest
import vkrun
from vkrun.backends.vulkan.api import vk
from vkrun.runtime.engine.choice import can_draw
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.errors import TextError
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import Sampler, SamplerSettings
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model

GREEDY = SamplerSettings(temp=0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "m.gguf")


def greedy_on_the_host(model: vkrun.Model, slot: int, token: int, n: int) -> list[int]:
    model.engine.reset(slot)
    tokens = [token]
    for pos in range(n):
        tokens.append(int(model.engine.step([Chunk(slot, pos, tokens[-1:])])[0].argmax()))
    return tokens[1:]


def draw(model: vkrun.Model, tokens: list[int], settings: SamplerSettings, n: int) -> np.ndarray:
    """[n, n_seqs] from one token a sequence."""
    for slot in range(len(tokens)):
        model.engine.reset(slot)
    return np.array(list(decode(model.engine, [Chunk(s, 0, (t,)) for s, t in enumerate(tokens)], settings, n)))


@pytest.mark.full("kompute")
def test_greedy_is_the_hosts_argmax_across_planned_sizes(path, backend):
    n = 20 if backend == "cpu" else 270  # beyond the 256 keys of the smallest planned step
    with load_exact(path, backend=backend, n_ctx=512) as model:
        assert draw(model, [7], GREEDY, n)[:, 0].tolist() == greedy_on_the_host(model, 0, 7, n)


def test_sequences_side_by_side_draw_what_each_draws_alone(path):
    with load_exact(path, backend="vulkan", n_ctx=64, n_seqs=3) as model:
        together = draw(model, [5, 9, 60], GREEDY, 12)
        for slot, token in enumerate((5, 9, 60)):
            assert together[:, slot].tolist() == greedy_on_the_host(model, slot, token, 12)


@pytest.mark.parametrize("settings", [GREEDY, SamplerSettings(seed=1)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(path, backend, settings, bad):
    with load_exact(path, backend=backend, n_ctx=64) as model:
        head = next(u.storage for u in model.engine.model.weights.uploads if u.storage.name == "output.weight")
        model.engine.device.write(head, np.full((1, head.shape[1]), bad, np.float32), row=5)
        with pytest.raises(TextError, match="logits: not finite after 1 tokens"):
            draw(model, [7], settings, 3)


def test_a_seed_repeats_itself_and_another_does_not(path, backend):
    with load_exact(path, backend=backend, n_ctx=64) as model:
        first, again, other = (draw(model, [3], SamplerSettings(seed=s), 30).tolist() for s in (11, 11, 12))
    assert first == again != other


def test_draws_follow_the_hosts_distribution(path):
    settings = SamplerSettings(temp=0.9, top_k=12, top_p=0.9, min_p=0.02)
    with load_exact(path, backend="vulkan", n_ctx=64) as model:
        ids, weights = Sampler(settings).distribution(model.logits([3])[0])
        drawn = [int(draw(model, [3], SamplerSettings(0.9, 12, 0.9, 0.02, seed=s), 1)[0, 0]) for s in range(600)]
    counts = np.array([drawn.count(int(i)) for i in ids])
    assert counts.sum() == len(drawn)
    expected = weights * len(drawn)
    assert ((counts - expected) ** 2 / expected).sum() < 3 * len(ids) + 20


def test_a_token_costs_a_submit_a_wait_and_a_reset(path):
    with load_exact(path, backend="vulkan", n_ctx=128) as model:
        draw(model, [7], GREEDY, 4)
        drawing = decode(model.engine, [Chunk(0, 4, (7,))], GREEDY, 52)
        next(drawing)
        with vk.counting() as calls:
            for _ in range(50):
                next(drawing)
        list(drawing)
    assert dict(calls) == {"vkQueueSubmit": 50, "vkWaitForFences": 50, "vkResetFences": 50}


def test_what_the_device_cannot_choose_by_is_chosen_on_the_host():
    assert can_draw(SamplerSettings()) and can_draw(GREEDY)
    assert not can_draw(SamplerSettings(top_k=0))
    assert not can_draw(SamplerSettings(top_k=65))
    assert not can_draw(SamplerSettings(repeat_penalty=1.1))
