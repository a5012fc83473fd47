"""Options of what caches are kept as: those that run are named where another one is asked for."""

from operator import eq
from types import SimpleNamespace
from typing import Any

import pytest
import vkrun
from vkrun.backends.base import DeviceInfo
from vkrun.runtime.bench.ranges import words
from vkrun.runtime.errors import UsageError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.opening import cache_type
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.tests.cli.running import errors
from vkrun.tests.cli.running import vkrun as command_line
from vkrun.tests.comparing import nmse

TEXT = "def f(n):\n    if n < 2:\n        return n\n    return f(n - 1) + f(n - 2)\n\n\n" * 4


@pytest.mark.parametrize("name", ["cache_type_k", "cache_type_v"])
def test_the_library_names_what_runs(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: 'q4_0', expected f32, f16, q8_0 or auto$"):
        vkrun.load(vkrun.BUNDLED, "cpu", **{name: "q4_0"})
    with pytest.raises(UsageError, match=name):
        WorkerOptions("model.gguf", **{name: "bf16"})


@pytest.mark.parametrize(
    "command, option",
    [((), "-ctk"), (("serve",), "-ctv"), (("perplexity",), "--cache-type-k"), (("bench",), "--cache-type-v")],
)
def test_commands_name_what_runs(command: tuple[str, ...], option: str) -> None:
    done = command_line(*command, option, "q4_0")
    (line,) = errors(done)
    assert done.returncode and "q4_0" in line and "f32" in line and "f16" in line and "q8_0" in line


def test_lists_of_a_benchmark() -> None:
    assert words("-ctk", ["f32,f16", "f32"], ("f32", "f16")) == ["f32", "f16", "f32"]
    with pytest.raises(UsageError, match="-ctk: '', expected f32 or f16"):
        words("-ctk", ["f32,"], ("f32", "f16"))


@pytest.mark.parametrize(
    "kind, dtype, kept",
    [("discrete gpu", DType.Q4_0, "f16"), ("discrete gpu", DType.BF16, "f32"), ("cpu", DType.Q4_0, "f32")],
)
def test_without_a_word_caches_are_f16_where_a_gpu_runs_quantised_weights(kind: str, dtype: DType, kept: str) -> None:
    f: Any = SimpleNamespace(tensors={"a": SimpleNamespace(dtype=DType.F32), "b": SimpleNamespace(dtype=dtype)})
    info = DeviceInfo("a", 0, "a", kind=kind)
    assert cache_type("auto", "auto", f, info) == kept and cache_type("f16", "auto", f, info) == "f16"
    assert cache_type("auto", "q8_0", f, info) == "f16" and cache_type("q8_0", "auto", f, info) == "q8_0"


def test_caches_of_f16_say_nearly_what_those_of_f32_say(full: bool) -> None:
    prompt, n, said = "def fibonacci(n):\n", 64 if full else 24, []
    for types in ({"cache_type_k": "f16", "cache_type_v": "f16"}, {}):
        with vkrun.load(vkrun.BUNDLED, "cpu", n_ctx=256, **types) as model:
            assert set(model.info.cache_types) == set(types.values() or ["f32"])
            ids = model.tokenize("".join(model.generate(prompt, max_tokens=n, temperature=0, ignore_eos=True)))
            said.append((ids, model.logits(model.tokenize(TEXT))))
    (made, logits), (wanted, wanted_logits) = said
    assert 0 < nmse(logits, wanted_logits) <= 1e-5
    assert len(wanted) >= n - 1 and sum(map(eq, made, wanted)) >= 0.95 * len(wanted)


@pytest.mark.parametrize("kept", [("f16", "f16"), ("f32", "f16"), ("q8_0", "f32")])
def test_caches_are_kept_as_asked(kept: tuple[str, str]) -> None:
    with vkrun.load(vkrun.BUNDLED, "cpu", n_ctx=64, cache_type_k=kept[0], cache_type_v=kept[1]) as model:
        assert model.info.cache_types == kept
        dtypes = {s.name.rsplit(".")[-1][:1]: s.dtype for s in model.engine.model.caches}
        assert dtypes == {"k": DType[kept[0].upper()], "v": DType[kept[1].upper()]}
        assert len(model.logits("def f(n):\n")) > 1
