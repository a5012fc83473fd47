"""What fits a device: asked on the null backend, for models of real shape whose files are holes."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vkrun.backends.base import DeviceInfo
from vkrun.runtime.engine.fits import SCRATCH_ROWS, check_fits, n_ctx_that_fits, needs_text, sizes_that_fit, why_not
from vkrun.runtime.engine.sizes import GPU, SOFTWARE
from vkrun.runtime.errors import BackendError, UsageError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.models.architecture import Architecture
from vkrun.tests.model_files import QWEN3_NEXT_80B, write_header
from vkrun.tests.null_backend import NullDevice
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import write

GIB, MIB = 1 << 30, 1 << 20
SHAPE = replace(QWEN3_NEXT_80B, n_layers=4, n_experts=16)
KV_NBYTES = 2 * 256 * 4  # of one token in the keys or the values of the one layer with attention


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Architecture]]:
    path = write_header(tmp_path_factory.mktemp("models") / "real.gguf", SHAPE)
    with GGUFFile.open(path, header_only=True) as f:
        yield lambda n_ctx: open_model(f, Capacity(n_ctx))


def device(free: int, most: int | None = None) -> NullDevice:
    made = NullDevice(info=DeviceInfo("null", 0, "a card", memory=2 * free, memory_free=free))
    made.max_binding = most
    return made


def test_caches_of_f16_hold_twice_the_context(tmp_path: Path) -> None:
    with GGUFFile.open(write_header(tmp_path / "real.gguf", SHAPE), header_only=True) as f:
        nbytes = {}
        for kept in (DType.F32, DType.F16):
            model = open_model(f, Capacity(4096, 1, type_k=kept, type_v=kept))
            assert {s.dtype for s in model.caches} == {kept}
            nbytes[kept] = sum(s.nbytes for s in model.caches)
            assert f"caches ({kept.name.lower()}) " in needs_text(model, device(8 * GIB))
        assert nbytes[DType.F32] == 2 * nbytes[DType.F16]


def test_what_fits_is_let_through(build) -> None:
    check_fits(build(4096), build, device(8 * GIB, 4 * GIB), 3)
    check_fits(build(1 << 20), build, device(64 * GIB), 3)
    nobody_knows = NullDevice()
    assert nobody_knows.nbytes_free() is None
    check_fits(build(1 << 24), build, nobody_knows, 3)


def test_a_cache_larger_than_a_kernel_sees_names_the_context_and_what_fits(build) -> None:
    most = 256 * MIB
    for n_ctx in (1 << 20, most // KV_NBYTES + 1):
        with pytest.raises(UsageError) as caught:
            check_fits(build(n_ctx), build, device(64 * GIB, most), 3)
        said = str(caught.value)
        assert said.startswith(f"a context of {n_ctx} tokens (-c, n_ctx) is too large for a card: blk.3.")
        assert said.endswith(f"of a buffer; the largest that fits is {most // KV_NBYTES}") and "256.0 MiB" in said


def test_memory_that_is_not_there_names_the_context_and_what_fits(build) -> None:
    grows = 2 * KV_NBYTES + 4 * SHAPE.rope_dims  # bytes a token
    model = build(1)
    fixed = model.weights.nbytes + sum(s.nbytes for s in model.states) + 4 * SCRATCH_ROWS * SHAPE.width - 4 * 64
    free = fixed + 300_000 * grows
    with pytest.raises(UsageError) as caught:
        check_fits(build(1 << 20), build, device(free), 3)
    assert "is too large for a card: " in str(caught.value) and " of memory wanted, " in str(caught.value)
    assert str(caught.value).endswith("; the largest that fits is 300000")
    check_fits(build(300_000), build, device(free), 3)
    with pytest.raises(BackendError, match=r"a card: .* of memory wanted, 1\.0 GiB free, even without any context"):
        check_fits(build(4096), build, device(GIB), 3)


def test_a_weight_that_no_op_can_cut_is_refused_before_it_is_uploaded(build) -> None:
    class Poor(NullDevice):
        def supports(self, node):
            return "[get_rows] sees too little" if node.op == "get_rows" else ""

    poor = Poor(info=DeviceInfo("null", 0, "a card"))
    poor.max_binding = 128 * MIB
    with pytest.raises(BackendError, match=r"a card: \[get_rows\] sees too little"):
        check_fits(build(4096), build, poor, 3)
    assert not poor.written
    poor.max_binding = 2 * GIB  # nothing is larger, so that nothing has to be asked
    check_fits(build(4096), build, poor, 3)


@pytest.mark.parametrize(
    ("name", "n_rows", "whole", "rings"),
    [("gemma3-12b", 3072, 24 * GIB, 6016 * MIB), ("gpt-oss-20b", 2176, 3 * GIB, 1638 * MIB)],
)
def test_caches_of_windows_are_as_long_as_these(name: str, n_rows: int, whole: int, rings: int, tmp_path: Path) -> None:
    """At a context of 32768, by steps of at most 2048 tokens, and whole."""
    write(tmp_path / "a.gguf", replace(PRESETS[name], n_vocab=1000), "Q4_K_M", header_only=True)
    with GGUFFile.open(tmp_path / "a.gguf") as f:
        for n_step, nbytes in ((0, whole), (GPU.most, rings)):
            model = open_model(f, Capacity(32768, n_step=n_step))
            assert sum(c.nbytes for c in model.caches) // MIB == nbytes // MIB
            assert {c.shape[1] for c in model.caches} == ({n_rows, 32768} if n_step else {32768})
        free = model.weights.nbytes + rings + 4 * SCRATCH_ROWS * model.params.width + MIB
        assert not why_not(open_model(f, Capacity(32768, n_step=GPU.most)), device(free))
        assert why_not(open_model(f, Capacity(32768)), device(free))
        small = open_model(f, Capacity(n_rows, n_step=GPU.most))
        assert not small.n_window_rows and {c.shape[1] for c in small.caches} == {n_rows}


def test_what_is_needed_and_what_there_is_in_a_line(build) -> None:
    said = needs_text(build(4096), device(8 * GIB))
    known = r"weights .* [MG]iB, caches \(f32\) 16.0 MiB, states .*, steps 256.0 MiB, of 8.0 GiB free"
    assert re.fullmatch(known, said)
    assert needs_text(build(4096), NullDevice()).endswith(", free memory unknown")


def test_a_context_that_was_not_asked_for_shrinks(build) -> None:
    model, grows = build(1), 2 * KV_NBYTES + 4 * SHAPE.rope_dims
    fixed = model.weights.nbytes + sum(s.nbytes for s in model.states) + 4 * SCRATCH_ROWS * SHAPE.width
    assert n_ctx_that_fits(build, device(fixed + 1000 * grows), 4096) == 768
    assert n_ctx_that_fits(build, device(fixed + 256 * grows), 4096) == 256
    assert n_ctx_that_fits(build, device(fixed + 255 * grows), 4096) == 0


def test_large_steps_are_planned_where_memory_is_left(build) -> None:
    model, width = build(4096), SHAPE.width
    lasting = model.weights.nbytes + sum(s.nbytes for s in (*model.caches, *model.states))

    def planned(beside: int | None, kind: str = "discrete gpu") -> int:
        free = None if beside is None else lasting + beside
        return sizes_that_fit(model, NullDevice(info=DeviceInfo("null", 0, "a card", kind=kind, memory_free=free))).most

    assert planned(None) == planned(1 << 36) == planned(2048 * 32 * 4 * width) == GPU.most
    assert planned(2048 * 32 * 4 * width - 1) == planned(0) == 1024
    assert planned(1 << 36, "cpu") == SOFTWARE.most
