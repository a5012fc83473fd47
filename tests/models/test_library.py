"""What programs that embed vkrun call: load() and Model, as the README promises them."""

import inspect
import math
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.backends.cpu import CpuDevice
from vkrun.runtime.engine.fits import SCRATCH_ROWS
from vkrun.runtime.errors import BackendError, GGUFError, ModelError, TextError, UsageError, VkrunError
from vkrun.tests.model_files import Shape, write_model

TEXT_MODEL = Path(__file__).parent / "golden" / "q8_0.gguf"
IDS = [7, 3, 3, 61, 0, 12]


@pytest.fixture(scope="module")
def ids_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without tokenizer data."""
    return write_model(tmp_path_factory.mktemp("models") / "ids.gguf")


@pytest.fixture(scope="module")
def on_cpu():
    with vkrun.load(TEXT_MODEL, backend="cpu", n_ctx=64) as model:
        yield model


def test_the_signature_of_load() -> None:
    parameters = list(inspect.signature(vkrun.load).parameters.items())
    assert [(name, p.default) for name, p in parameters[:6]] == [
        ("path", inspect.Parameter.empty),
        ("backend", None),
        ("device", None),
        ("n_ctx", None),
        ("n_seqs", 1),
        ("opt", 3),
    ]


def test_logits_are_of_every_position_and_from_an_empty_state(ids_model: Path, backend: str) -> None:
    with vkrun.load(str(ids_model), backend=backend, n_ctx=32) as model:
        logits = model.logits(IDS)
        assert logits.shape == (len(IDS), 64) and logits.dtype == np.float32 and np.isfinite(logits).all()
        assert np.array_equal(model.logits(np.array(IDS)), logits)
        assert np.allclose(model.logits(IDS[:3]), logits[:3], atol=1e-5)
        logits[:] = 0  # the caller's own
        assert model.logits(IDS).any()


def test_info(ids_model: Path, backend: str) -> None:
    with vkrun.load(ids_model, backend=backend, device=0, n_ctx=16, n_seqs=2, opt=1) as model:
        info = model.info
        tensors = Shape().tensors().values()
        assert (info.architecture, info.name, info.path) == ("qwen3next", "random", str(ids_model))
        assert (info.n_layers, info.n_vocab, info.n_ctx, info.n_ctx_train, info.n_seqs) == (4, 64, 16, 4096, 2)
        assert info.n_params == sum(map(math.prod, tensors)) and info.nbytes == 4 * info.n_params
        assert info.backend == backend and info.device and info.driver and info.is_software in (True, False)


def test_two_models_at_once_and_a_load_after_close(ids_model: Path, backend: str) -> None:
    first = vkrun.load(ids_model, backend=backend, n_ctx=32)
    wanted = first.logits(IDS)
    second = vkrun.load(TEXT_MODEL, backend=backend, n_ctx=32)
    text = "".join(second.generate("def f", max_tokens=4, temperature=0))
    assert np.array_equal(first.logits(IDS), wanted)
    first.close()
    first.close()
    assert "".join(second.generate("def f", max_tokens=4, temperature=0)) == text
    second.close()
    with vkrun.load(ids_model, backend=backend, n_ctx=32) as third:
        assert np.array_equal(third.logits(IDS), wanted)


def test_a_closed_model_says_so(ids_model: Path, backend: str) -> None:
    with vkrun.load(ids_model, backend=backend, n_ctx=32) as model:
        assert model.logits(IDS).any()
    with pytest.raises(VkrunError, match="random: the model is closed"):
        model.logits(IDS)
    with pytest.raises(VkrunError, match="random: the model is closed"):
        model.generate(IDS)


def test_tokenize_and_detokenize(on_cpu: vkrun.Model) -> None:
    text = "def f(x):\n    return x  # é 日本 🐍"
    ids = on_cpu.tokenize(text)
    assert ids and all(type(i) is int and 0 <= i < on_cpu.info.n_vocab for i in ids)
    assert on_cpu.detokenize(ids) == text
    assert on_cpu.tokenize("") == [] and on_cpu.detokenize([]) == ""


def test_greedy_generation_takes_the_likeliest_token_of_logits(on_cpu: vkrun.Model) -> None:
    ids = on_cpu.tokenize("def f(x):")
    pieces = list(on_cpu.generate("def f(x):", max_tokens=6, temperature=0, ignore_eos=True))
    for _ in range(6):
        ids.append(int(on_cpu.logits(ids)[-1].argmax()))
    assert "".join(pieces) == on_cpu.detokenize(ids[-6:])
    assert on_cpu.timings.n_generated == 6 and on_cpu.timings.ended == "length"


def test_a_prompt_may_be_ids(on_cpu: vkrun.Model) -> None:
    by_text = "".join(on_cpu.generate("import re", max_tokens=5, temperature=0))
    assert "".join(on_cpu.generate(on_cpu.tokenize("import re"), max_tokens=5, temperature=0)) == by_text


def test_a_seed_draws_the_same_again_and_another_draws_others(on_cpu: vkrun.Model) -> None:
    def drawn(seed: int, **how: float) -> str:
        made = on_cpu.generate("def", max_tokens=12, temperature=1.5, seed=seed, ignore_eos=True, **how)  # type: ignore[arg-type]
        return "".join(made)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1
    assert drawn(3, top_k=1) == "".join(on_cpu.generate("def", max_tokens=12, temperature=0, ignore_eos=True))
    assert drawn(3, top_p=1e-6) == drawn(4, min_p=1.0) == drawn(3, top_k=1)


def test_a_stop_string_ends_before_itself(on_cpu: vkrun.Model) -> None:
    text = "".join(on_cpu.generate("def f", max_tokens=12, temperature=0, ignore_eos=True))
    stop = text[3:5]
    cut = "".join(on_cpu.generate("def f", max_tokens=12, temperature=0, ignore_eos=True, stop=stop))
    assert cut == text[: text.index(stop)] and on_cpu.timings.ended == "stop"
    assert "".join(on_cpu.generate("def f", max_tokens=12, temperature=0, ignore_eos=True, stop=["zzz", stop])) == cut


def test_nothing_to_generate_and_a_full_context(on_cpu: vkrun.Model) -> None:
    assert list(on_cpu.generate("def", max_tokens=0, temperature=0)) == []
    made = list(on_cpu.generate("def", temperature=0, ignore_eos=True))
    assert made and on_cpu.timings.ended == "context"
    assert on_cpu.timings.n_prompt + on_cpu.timings.n_generated == 64 + 1  # the last one needs no place


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_ctx": 0}, "n_ctx: 0, expected 1 to"),
        ({"n_ctx": -5}, "n_ctx: -5, expected 1 to"),
        ({"n_ctx": 1 << 60}, "n_ctx: 1152921504606846976, expected 1 to"),
        ({"n_ctx": 0.5}, "n_ctx: 0.5, expected 1 to"),
        ({"n_ctx": "4k"}, "n_ctx: '4k', expected 1 to"),
        ({"n_seqs": 0}, "n_seqs: 0, expected 1 to"),
        ({"n_seqs": 100_000}, "n_seqs: 100000, expected 1 to"),
        ({"opt": 4}, "opt: 4, expected 0 to 3"),
        ({"opt": -1}, "opt: -1, expected 0 to 3"),
    ],
)
def test_arguments_of_load_out_of_range(ids_model: Path, wrong: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        vkrun.load(ids_model, **wrong)


def test_a_backend_or_device_that_is_not_there(ids_model: Path) -> None:
    with pytest.raises(BackendError, match="no backend abacus; there are vulkan"):
        vkrun.load(ids_model, backend="abacus")
    with pytest.raises(BackendError, match="no device 77; there are cpu 0"):
        vkrun.load(ids_model, backend="cpu", device=77)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"nothing\.gguf: cannot open: No such file"):
        vkrun.load(tmp_path / "nothing.gguf")
    (tmp_path / "text.gguf").write_text("hello, world, this is no model")
    with pytest.raises(GGUFError, match=r"text\.gguf"):
        vkrun.load(tmp_path / "text.gguf")
    path = write_model(tmp_path / "other.gguf")
    path.write_bytes(path.read_bytes().replace(b"qwen3next", b"qwen3last"))
    with pytest.raises(
        ModelError, match=r"general\.architecture: qwen3last is not supported, the nearest is qwen3.* of .*qwen3next"
    ):
        vkrun.load(path)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], "no tokens"),
        ([1, 300], "token 300, expected 0 to 299"),
        ([-1], "token -1, expected 0 to 299"),
        ([1 << 40], "token 1099511627776, expected 0 to 299"),
        ([1] * 65, "65 tokens do not fit a context of 64"),
    ],
)
def test_ids_out_of_range(on_cpu: vkrun.Model, ids: list[int], said: str) -> None:
    wanted = on_cpu.logits(IDS)
    with pytest.raises(UsageError, match=said):
        on_cpu.logits(ids)
    with pytest.raises(UsageError, match=said):
        list(on_cpu.generate(ids))
    assert np.array_equal(on_cpu.logits(IDS), wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"max_tokens": -2},
        {"max_tokens": "8"},
    ],
)
def test_settings_out_of_range(on_cpu: vkrun.Model, wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match="temp" if name == "temperature" else name):
        list(on_cpu.generate("def", **wrong))


def test_text_without_a_tokenizer(ids_model: Path) -> None:
    with vkrun.load(ids_model, backend="cpu", n_ctx=32) as model:
        with pytest.raises(TextError, match="tokenizer"):
            model.tokenize("def")
        with pytest.raises(TextError, match="tokenizer"):
            model.generate("def")
        assert model.logits([1]).any()


def test_more_memory_than_there_is(ids_model: Path, backend: str) -> None:
    with pytest.raises(UsageError, match=r"a context of 16777216 tokens \(-c, n_ctx\) is too large for") as caught:
        vkrun.load(ids_model, backend=backend, n_ctx=1 << 24, n_seqs=256)
    assert str(caught.value).isprintable()
    with vkrun.load(ids_model, backend=backend, n_ctx=32) as model:
        assert model.logits([1]).any()


def test_checkpoints_make_way_where_memory_is_short(ids_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vkrun.load(ids_model, backend="cpu", n_ctx=32) as model:
        room, states = model.engine.model.capacity, model.engine.model.states
        nbytes = sum(s.nbytes for s in states) // room.n_states
        wanted = sum(s.nbytes for s in (*model.engine.model.caches, *states)) + model.engine.model.weights.nbytes
    assert room.n_states == 1 + 1 + 8
    scratch = SCRATCH_ROWS * 4 * Shape().width
    monkeypatch.setattr(CpuDevice, "nbytes_free", lambda _: wanted + scratch - 5 * nbytes)
    with vkrun.load(ids_model, backend="cpu", n_ctx=32) as model:
        assert model.engine.model.capacity.n_states == 1 + 1 + 2 and model.logits([1]).any()
    monkeypatch.setattr(CpuDevice, "nbytes_free", lambda _: wanted + scratch - 8 * nbytes)
    with pytest.raises(BackendError, match="of memory wanted"):
        vkrun.load(ids_model, backend="cpu", n_ctx=32)


def test_a_context_that_nobody_asked_for_shrinks_and_says_so(ids_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vkrun.load(ids_model, backend="cpu") as model:
        assert model.info.n_ctx == 4096 and not model.info.shrunk
        assert re.fullmatch(r"weights .*, caches \(f..\) .*, states .*, steps .*, of .* free", model.info.needs)
        kept, room = model.engine.model, model.engine.model.capacity
        needed = kept.weights.nbytes + sum(s.nbytes for s in kept.caches) + SCRATCH_ROWS * 4 * Shape().width
        needed += sum(s.nbytes for s in kept.states) // room.n_states * 3
    monkeypatch.setattr(CpuDevice, "nbytes_free", lambda _: needed - 1)
    with vkrun.load(ids_model, backend="cpu") as model:
        assert model.info.n_ctx == 3840 and model.logits([1]).any()
        said = r"a context of 3840 tokens, since 4096 are too many for .*: .* of memory wanted, .* free"
        assert re.fullmatch(said, model.info.shrunk)
    with pytest.raises(
        UsageError, match=r"a context of 4096 tokens \(-c, n_ctx\) is too large for .* wanted, .* free; the"
    ):
        vkrun.load(ids_model, backend="cpu", n_ctx=4096)


@pytest.mark.parametrize("prompt", [b"def", None, 7, 1.5, [1.0], ["def"], [[1]], [True], {"role": "user"}])
def test_what_is_no_prompt(on_cpu: vkrun.Model, prompt: object) -> None:
    for call in (on_cpu.generate, on_cpu.logits, lambda p: on_cpu.generate_batch([p])):
        with pytest.raises(UsageError, match=r"^prompt: .*expected"):
            call(prompt)  # type: ignore[operator]


@pytest.mark.parametrize("stop", [1, [1], ["a", None], 2.5])
def test_what_is_no_stop_string(on_cpu: vkrun.Model, stop: object) -> None:
    with pytest.raises(UsageError, match=r"^stop: .*expected text"):
        on_cpu.generate("def", stop=stop)  # type: ignore[arg-type]


def test_numbers_of_numpy_none_and_minus_one_mean_the_obvious(on_cpu: vkrun.Model) -> None:
    plain = "".join(on_cpu.generate("def", max_tokens=4, temperature=1.5, seed=3, stop=[]))
    how = {"max_tokens": np.int32(4), "temperature": np.float32(1.5), "seed": np.int64(3), "top_k": np.int16(40)}
    assert "".join(on_cpu.generate("def", stop=None, **how)) == plain  # type: ignore[arg-type]
    assert "".join(on_cpu.generate(np.array(on_cpu.tokenize("def")), stop=(), **how)) == plain  # type: ignore[arg-type]
    assert list(on_cpu.generate("def", max_tokens=-1, temperature=0, ignore_eos=True))
    assert on_cpu.timings.ended == "context"
    assert np.array_equal(on_cpu.logits("def"), on_cpu.logits(on_cpu.tokenize("def")))


def test_generations_take_turns_in_one_seat(backend: str) -> None:
    with vkrun.load(TEXT_MODEL, backend=backend, n_ctx=64) as model:
        how = {"max_tokens": 10, "temperature": 0, "ignore_eos": True}
        wanted = ["".join(model.generate(prompt, **how)) for prompt in ("def f", "x")]  # type: ignore[arg-type]
        first, second = (model.generate(prompt, **how) for prompt in ("def f", "x"))  # type: ignore[arg-type]
        texts = ["", ""]
        texts[0] += next(first)
        texts[1] += "".join(second)
        logits = model.logits(IDS)
        texts[0] += "".join(first)
        assert texts == wanted and np.isfinite(logits).all()
        assert first.timings.n_generated == len(first.ids) == 10


def test_a_generation_is_stopped_from_outside(on_cpu: vkrun.Model) -> None:
    made = on_cpu.generate("def f", temperature=0, ignore_eos=True)
    next(made)
    made.stop()
    assert list(made) == [] and made.timings.ended == "stopped" and made.timings.n_generated == len(made.ids) >= 1


def test_a_generation_is_stopped_by_another_thread() -> None:
    with vkrun.load(TEXT_MODEL, backend="cpu", n_ctx=2048) as model, ThreadPoolExecutor(1) as pool:
        made = model.generate("def f", temperature=0, ignore_eos=True)
        reading = pool.submit(lambda: "".join(made))
        while not made.ids:
            time.sleep(0.001)
        made.stop()
        reading.result(timeout=30)
        assert made.timings.ended == "stopped" and 0 < len(made.ids) < 1500


@pytest.mark.parametrize("n_seqs", [1, 3])
def test_a_batch_gives_what_each_prompt_gives_alone(n_seqs: int) -> None:
    prompts = ["def f", "import re", "x", "class A", "# é"]
    with vkrun.load(TEXT_MODEL, backend="cpu", n_ctx=64, n_seqs=n_seqs) as model:
        alone = ["".join(model.generate(p, max_tokens=5, temperature=0)) for p in prompts]
        assert model.generate_batch(prompts, max_tokens=5, temperature=0) == alone
        assert model.generate_batch([], max_tokens=5) == []
        with pytest.raises(UsageError, match="prompts: str, expected several prompts"):
            model.generate_batch("def")


def test_threads_share_the_batch() -> None:
    prompts = ["def f", "import re", "x", "class A", "# é", "while"]
    with vkrun.load(TEXT_MODEL, backend="cpu", n_ctx=64, n_seqs=4) as model:
        alone = ["".join(model.generate(p, max_tokens=6, temperature=0)) for p in prompts]
        with ThreadPoolExecutor(len(prompts)) as pool:
            made = pool.map(lambda p: "".join(model.generate(p, max_tokens=6, temperature=0)), prompts)
            assert list(made) == alone


def test_a_generation_of_a_closed_model_says_so(backend: str) -> None:
    with vkrun.load(TEXT_MODEL, backend=backend, n_ctx=64) as model:
        going = model.generate("def f", max_tokens=10, temperature=0, ignore_eos=True)
        next(going)
    for call in (lambda: next(going), lambda: model.generate("x"), lambda: model.logits("x")):
        with pytest.raises(VkrunError, match="random q8_0: the model is closed"):
            call()


FORKING = """
import os, sys, vkrun
model = vkrun.load(sys.argv[1], backend=sys.argv[2], n_ctx=32)
model.logits([1])
child = os.fork()
if not child:
    try:
        model.logits([1])
    except vkrun.VkrunError as error:
        print(error, flush=True)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
model.logits([1])
"""


def test_a_forked_process_is_told_so_and_ends_as_others_do(ids_model: Path, backend: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKING, ids_model, backend], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"random: loaded by process \d+, of which this one was forked; load it after forking", ran.stdout)
