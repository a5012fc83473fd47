"""Options of what caches are kept as: those that run are named where another one is asked for."""

from operator import eq

import pytest
import vkrun
from vkrun.runtime.bench.ranges import words
from vkrun.runtime.errors import UsageError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.tests.cli.running import errors
from vkrun.tests.cli.running import vkrun as command_line
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact

TEXT = "def f(n):\n    if n < 2:\n        return n\n    return f(n - 1) + f(n - 2)\n\n\n" * 4


@pytest.mark.parametrize("name", ["cache_type_k", "cache_type_v"])
def test_the_library_names_what_runs(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: 'q4_0', expected f32 or f16$"):
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
    assert done.returncode and "q4_0" in line and "f32" in line and "f16" in line


def test_lists_of_a_benchmark() -> None:
    assert words("-ctk", ["f32,f16", "f32"], ("f32", "f16")) == ["f32", "f16", "f32"]
    with pytest.raises(UsageError, match="-ctk: '', expected f32 or f16"):
        words("-ctk", ["f32,"], ("f32", "f16"))


def test_without_a_word_caches_are_f16_and_say_nearly_what_those_of_f32_say() -> None:
    prompt, n, said = "def fibonacci(n):\n", 64, []
    for load, kept in ((vkrun.load, "f16"), (load_exact, "f32")):
        with load(vkrun.BUNDLED, "cpu", n_ctx=256) as model:
            assert model.info.cache_types == (kept, kept)
            ids = model.tokenize("".join(model.generate(prompt, max_tokens=n, temperature=0, ignore_eos=True)))
            said.append((ids, model.logits(model.tokenize(TEXT))))
    (made, logits), (wanted, wanted_logits) = said
    assert 0 < nmse(logits, wanted_logits) <= 1e-5
    assert len(wanted) >= n - 1 and sum(map(eq, made, wanted)) >= 0.95 * len(wanted)


@pytest.mark.parametrize("kept", [("f16", "f16"), ("f32", "f16"), ("f16", "f32")])
def test_caches_are_kept_as_asked(kept: tuple[str, str]) -> None:
    with vkrun.load(vkrun.BUNDLED, "cpu", n_ctx=64, cache_type_k=kept[0], cache_type_v=kept[1]) as model:
        assert model.info.cache_types == kept
        dtypes = {s.name.rsplit(".")[-1][:1]: s.dtype for s in model.engine.model.caches}
        assert dtypes == {"k": DType[kept[0].upper()], "v": DType[kept[1].upper()]}
        assert len(model.logits("def f(n):\n")) > 1
