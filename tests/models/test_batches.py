"""Sequences that share steps, and prompts that go on from what earlier ones left."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import vkrun
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.backends.base import DeviceInfo
from vkrun.backends.cpu import CpuDevice
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.generation import Generation
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.service import Service
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.errors import TextError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model
from vkrun.tests.null_backend import NullDevice

GOLDEN = Path(__file__).parent / "golden"
F32, MODEL = GOLDEN / "f32.gguf", GOLDEN / "q8_0.gguf"
GREEDY = SamplerSettings(temp=0)
CHUNK = 64  # tokens, the distance of checkpoints inside of a planned chunk


@pytest.fixture(scope="module")
def model() -> Iterator[vkrun.Model]:
    with load_exact(MODEL, backend="cpu", n_ctx=2048, n_seqs=2) as opened:
        yield opened


def ids(seed: int, n: int) -> list[int]:
    return [random.Random(f"{seed} {i}").randrange(1, 90) for i in range(n)]


def generate(model: vkrun.Model, prompt: list[int], n: int) -> Generation:
    return model.generate(prompt, max_tokens=n, temperature=0, ignore_eos=True)


def made(model: vkrun.Model, prompt: list[int], n: int) -> list[int]:
    generation = generate(model, prompt, n)
    list(generation)
    return generation.ids


def n_cached(model: vkrun.Model, prompt: list[int]) -> int:
    list(generate(model, prompt, 1))
    return model.timings.n_cached


def opened(model: vkrun.Model) -> Service:
    """A service for ids alone, as the F32 model has no tokenizer."""
    room = model.engine.model.capacity
    return Service(Scheduler(Runner(model.engine), Slots(room.n_caches, room.n_states)), "f32")


@pytest.mark.full("vulkan")
@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_eight_sequences_that_come_and_go_make_what_each_makes_alone(backend: str) -> None:
    rng = random.Random(7)
    asked = [(ids(i, rng.choice([3, 9, 30, 70])), rng.randrange(2, 14)) for i in range(12)]
    with load_exact(F32, backend=backend, n_ctx=128, n_seqs=8) as model:
        service, wanted = opened(model), []
        for prompt, n in asked:
            alone = Sequence(prompt, GREEDY, n)
            service.join(alone)
            wanted.append([service.next(alone) for _ in range(n)])
        service, waiting = opened(model), [Sequence(prompt, GREEDY, n) for prompt, n in asked]
        got: dict[Sequence, list[int | None]] = {s: [] for s in waiting}
        running: list[Sequence] = []
        while waiting or running:
            while waiting and len(running) < 8 and (rng.random() < 0.5 or not running):
                running.append(waiting.pop(0))
                service.join(running[-1])
            s = rng.choice(running)
            got[s].append(service.next(s))
            running = [s for s in running if len(got[s]) < s.limit]
    assert list(got.values()) == wanted


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    """One that computes, and one that only plans."""
    path = write_model(tmp_path_factory.mktemp("model") / "m.gguf")
    with GGUFFile.open(path) as f:
        devices = {"cpu": CpuDevice(DeviceInfo("cpu", 0, "numpy")), "null": NullDevice()}
        return {name: Engine(open_model(f, Capacity(128, 3, 9)), device) for name, device in devices.items()}


moves = st.one_of(
    st.tuples(st.just("join"), st.integers(1, 90), st.integers(0, 2), st.integers(0, 8)),
    st.tuples(st.just("step"), st.integers(1, 9), st.just(0), st.just(0)),
    st.tuples(st.just("stop"), st.integers(0, 9), st.just(0), st.just(0)),
)


@pytest.mark.parametrize("device", ["null", "cpu"])
@settings(max_examples=10, deadline=None)
@given(schedule=st.lists(moves, min_size=2, max_size=10))
def test_random_schedules(engines: dict[str, Engine], device: str, schedule: list) -> None:
    scheduler = Scheduler(Runner(engines[device]), Slots(3, 9))
    joined: list[Sequence] = []
    for what, n, seed, limit in schedule:
        if what == "join":
            joined.append(Sequence([i % 60 for i in ids(seed, n)], GREEDY, limit))
            scheduler.join(joined[-1])
        elif what == "step":
            for _ in range(n):
                scheduler.step()
        elif joined:
            joined[n % len(joined)].end("stopped")
    for _ in range(300):
        scheduler.step()
    for s in joined:
        assert not s.error and (s.ended == "stopped" or len(s.out) == s.limit)
        alone = Sequence(s.ids[: s.timings.n_prompt], GREEDY, len(s.out))
        service = Service(Scheduler(Runner(engines[device]), Slots(3, 9)), "alone")
        service.join(alone)
        assert [service.next(alone) for _ in s.out] == list(s.out)


@pytest.mark.parametrize("level", [0, 3])
def test_logits_that_are_not_finite_end_their_own_sequence_alone(tmp_path: Path, level: int) -> None:
    with load_exact(write_model(tmp_path / "m.gguf"), backend="cpu", n_ctx=64, n_seqs=2, opt=level) as model:
        device, uploads = model.engine.device, model.engine.model.weights.uploads
        embedding = next(u.storage for u in uploads if u.storage.name == "token_embd.weight")
        device.write(embedding, np.full((1, embedding.shape[1]), np.nan, np.float32), row=63)
        service = opened(model)
        bad, good = Sequence([1, 2, 63], GREEDY, 5), Sequence([1, 2, 3], GREEDY, 5)
        service.join(bad)
        service.join(good)
        with pytest.raises(TextError, match="logits: not finite after 3 tokens"):
            service.next(bad)
        tokens = [service.next(good) for _ in range(5)]
        for _ in range(2):  # in both seats
            again = Sequence([1, 2, 3], GREEDY, 5)
            service.join(again)
            assert [service.next(again) for _ in range(5)] == tokens


def test_a_seed_draws_the_same_alone_and_beside_one_whose_tokens_the_host_chooses() -> None:
    with load_exact(F32, backend="cpu", n_ctx=64, n_seqs=2) as model:
        drawn, got = SamplerSettings(temp=1.5, seed=5), []
        for others in ([], [SamplerSettings(temp=0, repeat_penalty=1.3)], [GREEDY]):
            service = opened(model)
            first, *rest = [Sequence(ids(1, 12), chosen, 9) for chosen in (drawn, *others)]
            for s in (first, *rest):
                service.join(s)
            got.append([service.next(first) for _ in range(9)])
    assert got[0] == got[1] == got[2] and len(set(got[0])) > 2


def test_logarithms_of_probability_change_no_token() -> None:
    with load_exact(F32, backend="cpu", n_ctx=64, n_seqs=2) as model:
        drawn, prompt, got = SamplerSettings(temp=1.5, seed=5), ids(1, 12), []
        for n_logprobs in (None, 0, 3):
            service, s = opened(model), Sequence(prompt, drawn, 6, n_logprobs=n_logprobs)
            service.join(s)
            got.append([service.next(s) for _ in range(6)])
        told = list(s.choice.logprobs)
        rows = model.engine.prompt(0, 0, [*prompt, *got[0][:-1]], every=True)[-6:].astype(np.float64)  # type: ignore[misc]
    assert got[0] == got[1] == got[2] and len(told) == 6
    expected = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    for row, token, one in zip(expected, got[0], told, strict=True):
        assert one.own == pytest.approx(row[token], abs=1e-4)
        assert [i for i, _ in one.top] == np.argsort(-row)[:3].tolist()
        assert [p for _, p in one.top] == pytest.approx(np.sort(row)[::-1][:3], abs=1e-4)


def test_asking_again(model: vkrun.Model) -> None:
    prompt = ids(1, 300)
    first = made(model, prompt, 4)
    assert made(model, prompt, 4) == first and model.timings.n_cached >= 300 - CHUNK


def test_the_last_message_of_five_is_edited(model: vkrun.Model) -> None:
    end = min(model.tokenizer.eos_ids)
    said = [t for i in range(4) for t in [*ids(10 + i, 50), end]]
    before = n_cached(model, [*said, *ids(20, 90)])
    edited = [*said, *ids(21, 70)]
    assert before == 0 and n_cached(model, edited) >= len(said) - CHUNK
    with load_exact(MODEL, backend="cpu", n_ctx=512) as fresh:
        assert made(fresh, edited, 6) == made(model, edited, 6)


def test_a_turn_after_a_stop_string(model: vkrun.Model) -> None:
    prompt = ids(30, 200)
    text = "".join(generate(model, prompt, 30))
    stop = text[len(text) // 2 :][:3]
    answer = model.generate(prompt, max_tokens=30, temperature=0, ignore_eos=True, stop=stop)
    list(answer)
    assert answer.timings.ended == "stop"
    turn = [*prompt, *answer.ids[:-3], *ids(31, 20)]
    assert n_cached(model, turn) >= 200 - CHUNK


def test_a_turn_after_an_answer_that_was_stopped(model: vkrun.Model) -> None:
    prompt = ids(40, 200)
    answer = generate(model, prompt, 100)
    for _ in range(5):
        next(answer)
    answer.stop()
    turn = [*prompt, *answer.ids, *ids(41, 20)]
    assert n_cached(model, turn) >= 200 - CHUNK
    with load_exact(MODEL, backend="cpu", n_ctx=512) as fresh:
        assert made(fresh, turn, 6) == made(model, turn, 6)


def test_two_chats_take_turns(model: vkrun.Model) -> None:
    chats = [ids(50, 100), ids(51, 120)]
    for turn in range(3):
        for i, chat in enumerate(chats):
            answer = made(model, chat, 6)
            assert model.timings.n_cached >= (len(chat) - 30 if turn else 0)
            chats[i] = [*chat, *answer, *ids(60 + turn, 20)]


def test_a_beginning_is_copied_from_another_chat(model: vkrun.Model) -> None:
    end = min(model.tokenizer.eos_ids)
    system = [*ids(70, 130), end]
    made(model, [*system, *ids(71, 300)], 1)
    prompt = [*system, *ids(72, 40)]
    got = made(model, prompt, 6)
    assert model.timings.n_cached == 128  # the end of a span
    with load_exact(MODEL, backend="cpu", n_ctx=512) as fresh:
        assert made(fresh, prompt, 6) == got
