"""Models through the whole of the metal backend, on a stand-in for Apple's framework."""

from pathlib import Path

import pytest
import vkrun
from vkrun.backends.host import msl
from vkrun.runtime.cli import ops_report
from vkrun.runtime.cli.main import main
from vkrun.runtime.errors import BackendError
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.metal_stand_in.framework import MEMORY_NBYTES
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.model_files import write_model
from vkrun.tests.models.test_golden import GOLDEN, NAMES, golden
from vkrun.tests.ops.models_on_stand_ins import IDS, odd_tokens, tokens

runs_kernels = pytest.mark.skipif(bool(msl.why_missing()), reason=msl.why_missing())
# of a step with nothing to be compiled or allocated: the pool that drains, command buffers, encoders
PER_STEP = {
    *("autorelease_pool", "commandBufferWithUnretainedReferences", "computeCommandEncoderWithDispatchType_"),
    *("setComputePipelineState_", "setBuffers_offsets_withRange_", "dispatchThreadgroups_threadsPerThreadgroup_"),
    "dispatchThreadgroupsWithIndirectBuffer_indirectBufferOffset_threadsPerThreadgroup_",
    *("memoryBarrierWithScope_", "endEncoding", "addCompletedHandler_", "commit", "waitUntilCompleted", "status"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny.gguf")


def load(path: Path, backend: str = "metal") -> vkrun.Model:
    return load_exact(path, backend=backend, n_ctx=64)


@runs_kernels
@pytest.mark.full("1")  # the memory of each tensor, and the calls of steps, have tests of their own
@pytest.mark.parametrize(("validate", "replay"), [("0", "0"), ("1", "0"), ("0", "1")])
def test_a_model_gives_the_same_tokens(mac: Mac, path: Path, monkeypatch, validate: str, replay: str) -> None:
    """Prompt, decode two steps deep; with every tensor in memory of its own too, and with commands that Metal keeps."""
    with load(path, "cpu") as model:
        wanted, drawn, odd = model.logits(IDS), tokens(model, IDS), odd_tokens(model)
    monkeypatch.setenv("VKRUN_VALIDATE", validate)
    monkeypatch.setenv("VKRUN_METAL_REPLAY", replay)
    with load(path) as model:
        assert nmse(model.logits(IDS), wanted) < 1e-10
        assert tokens(model, IDS) == drawn and odd_tokens(model) == odd
        assert (model.engine.device.memory_used()["arena"] > 0) == (validate == "0")
    assert (mac.calls["executeCommandsInBuffer_withRange_"] > 0) == (replay == "1")


@runs_kernels
def test_tokens_are_encoded_and_nothing_is_made(mac: Mac, path: Path) -> None:
    """Other tokens, other positions, another sequence; nothing is compiled or allocated."""
    with load(path) as model:
        tokens(model, IDS)
        before = mac.calls.copy()
        tokens(model, [7, 3, 11, 2, 8], n=8)
        made = mac.calls - before
    assert made["commit"] >= 9 and set(made) <= PER_STEP


@runs_kernels
@pytest.mark.full
def test_loads_and_closes_leave_nothing(mac: Mac, path: Path) -> None:
    drawn = []
    for _ in range(3):
        with load(path) as model:
            drawn.append(tokens(model, IDS, n=2))
        assert mac.alive == []
    assert drawn == drawn[:1] * 3


def test_memory_that_others_have_is_one_line_before_a_load_begins(mac: Mac, path: Path) -> None:
    mac.device.taken = MEMORY_NBYTES - (1 << 18)
    with pytest.raises(
        BackendError, match=r"^Stand-in M3: .* of memory wanted, .* KiB free, even without any context$"
    ):
        load(path)
    assert mac.calls["newBufferWithLength_options_"] == 0


@runs_kernels
@pytest.mark.full
def test_the_bundled_model_writes_the_same_tokens(mac: Mac, exhaustive: bool) -> None:
    """Each takes seconds: ten, with --exhaustive 40."""
    made, n = [], 40 if exhaustive else 10
    for backend in ("cpu", "metal"):
        with load_exact(vkrun.BUNDLED, backend=backend, n_ctx=64) as model:
            made.append(tokens(model, model.tokenizer.encode("def f(n):"), n=n))
    assert made[0] == made[1] and len(made[0]) == n


@runs_kernels
@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(mac: Mac, name: str) -> None:
    ids, wanted = golden(name)
    with load_exact(GOLDEN / f"{name}.gguf", backend="metal", n_ctx=256) as model:
        assert nmse(model.logits(ids), wanted) <= 1e-6


@runs_kernels
@pytest.mark.full
def test_a_first_user_of_a_mac_can_tell_us_all(mac: Mac, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ops_report, "N_TOKENS", 3)
    path = tmp_path / "report.txt"
    assert main(["test-ops", "-o", "l2_norm", "--backend", "metal", "--report", str(path)]) == 0
    lines = path.read_text().splitlines()
    assert "# metal: Stand-in M3, macOS 14.5, integrated gpu, 256.0 MiB" in lines and "subgroup_size: 32" in lines
    said = [line.partition(" s: ")[2] for line in lines if line.startswith("bundled model, 3 tokens on ")]
    assert len(said) == 2 and said[0] == said[1] and said[0]
