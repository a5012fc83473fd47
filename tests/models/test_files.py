"""What people's files are like: every type of weights, mixed in a layer, and every layout; with factors, draft heads
and tensors that no one uses."""

from pathlib import Path

import numpy as np
import pytest
from vkrun.runtime.errors import GGUFError, ModelError
from vkrun.runtime.ir.dtypes import DType
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.models import kinds
from vkrun.tests.rewriting import Contents, Stored, fused

BLOCKS = [t for t in DType if t.is_quantised]
FEW = [DType.Q4_K, DType.F16, DType.IQ4_XS, DType.Q8_0, DType.Q6_K, DType.BF16]
LIMIT = 1e-10
USUAL = pytest.param("cpu"), pytest.param("vulkan", marks=pytest.mark.full)


def logits_of(path: Path, backend: str = "cpu") -> np.ndarray:
    with load_exact(path, backend=backend, n_ctx=64) as model:
        return model.logits(kinds.IDS)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.full("kompute", "vulkan")
def test_types_mixed_in_a_layer(part: int, backend: str, tmp_path: Path) -> None:
    """Each half of the types in one file, against the same numbers as floats."""
    mixed = kinds.model(BLOCKS[part::2])
    assert {t.dtype for t in mixed.tensors.values()} == {DType.F32, *BLOCKS[part::2]}
    wanted = logits_of(kinds.floats_of(mixed).write(tmp_path / "floats.gguf"))
    assert nmse(logits_of(mixed.write(tmp_path / "mixed.gguf"), backend), wanted) <= LIMIT


@pytest.mark.parametrize("backend", USUAL)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_experts_of_mixed_types(part: int, backend: str, tmp_path: Path) -> None:
    mixed = kinds.model(BLOCKS[part::3], experts=True)
    wanted = logits_of(kinds.floats_of(mixed).write(tmp_path / "floats.gguf"))
    assert nmse(logits_of(mixed.write(tmp_path / "mixed.gguf"), backend), wanted) <= LIMIT


@pytest.mark.full(True)
@pytest.mark.parametrize("backend", USUAL)
@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
def test_one_model_in_ten_layouts_each(experts: bool, backend: str, tmp_path: Path) -> None:
    """In parts, reordered, fused, with a draft head: the same logits bit for bit."""
    whole, rng = kinds.model(FEW[:1], experts=experts), np.random.default_rng(0)
    wanted = logits_of(whole.write(tmp_path / "whole.gguf"), backend)
    for i in range(10):
        folder = tmp_path / str(i)
        folder.mkdir()
        layouts = [whole.reordered(i), _fused(whole, experts, i), _drafting(whole, i)]
        paths = [each.write(folder / f"{at}.gguf") for at, each in enumerate(layouts)]
        sizes = tuple(rng.integers(0, 8, rng.integers(2, 6)).tolist())
        paths.append(rng.choice(np.array(whole.reordered(i).write_parts(folder, sizes))))
        for path in paths:
            assert np.array_equal(logits_of(path, backend), wanted), path


def _fused(whole: Contents, experts: bool, i: int) -> Contents:
    """Projections, or gates and what they open, or both, in one layer or in all."""
    for layer in ((0,), (1,), (0, 1))[i % 3]:
        at = f"blk.{layer}."
        if i % 2 == 0:
            whole = fused(whole, at + "attn_qkv", *(f"{at}attn_{name}" for name in "qkv"))
        if i % 4:
            names = [f"{at}ffn_{name}{'_exps' if experts else ''}" for name in ("gate", "up")]
            whole = fused(whole, at + ("ffn_gate_up_exps" if experts else "ffn_up"), *names)
    return whole


def _drafting(whole: Contents, i: int) -> Contents:
    """With i % 3 + 1 draft heads behind the layers, in the types of the last one."""
    layer = {name: t for name, t in whole.tensors.items() if name.startswith("blk.1.")}
    more = {name.replace("blk.1.", f"blk.{2 + j}."): t for j in range(i % 3 + 1) for name, t in layer.items()}
    more |= {f"blk.{2 + j}.nextn.enorm.weight": Stored.floats(np.ones(kinds.WIDTH)) for j in range(i % 3 + 1)}
    made = whole.with_tensors(more)
    return made.with_keys(block_count=(3 + i % 3, "uint32"), nextn_predict_layers=(i % 3 + 1, "uint32"))


def test_draft_heads_are_told_of(tmp_path: Path) -> None:
    path = _drafting(kinds.model(FEW[:1]), 1).write(tmp_path / "a.gguf")
    with load_exact(path, backend="cpu", n_ctx=64) as model:
        (note,) = model.info.notes
    assert note.startswith("draft heads are not run: blk.2, blk.3, 26 tensors, 0.")


@pytest.mark.parametrize("dtype", [DType.NVFP4, DType.F16, DType.BF16, DType.Q4_K], ids=lambda t: t.name)
@pytest.mark.parametrize("backend", USUAL)
def test_factors_are_applied(dtype: DType, backend: str, tmp_path: Path) -> None:
    plain = kinds.model([dtype])
    dense = [n for n, t in plain.tensors.items() if n.startswith("blk.") and t.raw.ndim == 2]
    scaled = plain.with_tensors(
        {n.replace(".weight", ".scale"): Stored.floats([0.5 + i % 5 / 3]) for i, n in enumerate(dense)}
        | {n.replace(".weight", ".input_scale"): Stored.floats([3.0]) for n in dense}
    )
    wanted = logits_of(kinds.floats_of(scaled).write(tmp_path / "floats.gguf"))
    assert nmse(logits_of(scaled.write(tmp_path / "scaled.gguf"), backend), wanted) <= LIMIT
    joined = scaled.with_tensors({f"blk.0.attn_{n}.scale": None for n in "qkv"} | {"blk.0.attn_qkv.scale": SCALE})
    joined = fused(joined, "blk.0.attn_qkv", *(f"blk.0.attn_{name}" for name in "qkv"))
    wanted = logits_of(kinds.floats_of(joined).write(tmp_path / "floats.gguf"))
    assert nmse(logits_of(joined.write(tmp_path / "joined.gguf"), backend), wanted) <= LIMIT


SCALE = Stored.floats(np.array([0.7]))


@pytest.mark.parametrize("dtype", [DType.NVFP4, DType.F16], ids=lambda t: t.name)
@pytest.mark.parametrize("backend", USUAL)
def test_factors_of_experts_are_applied(dtype: DType, backend: str, tmp_path: Path) -> None:
    plain = kinds.model([dtype], experts=True)
    factors = Stored.floats(np.linspace(0.4, 1.6, kinds.EXPERTS))
    names = [n for n in plain.tensors if n.endswith("_exps.weight")]
    scaled = plain.with_tensors({n.replace(".weight", ".scale"): factors for n in names})
    wanted = logits_of(kinds.floats_of(scaled).write(tmp_path / "floats.gguf"))
    assert nmse(logits_of(scaled.write(tmp_path / "scaled.gguf"), backend), wanted) <= LIMIT


def test_factors_of_what_no_file_was_seen_to_have_are_applied(tmp_path: Path) -> None:
    """On every matrix there is, embedding and head too; one number for all experts; before a bias of experts."""
    plain = kinds.model([DType.Q4_K], experts=True)
    matrices = [n for n, t in plain.tensors.items() if t.raw.ndim > 1]
    ones = plain.with_tensors({n.replace(".weight", ".scale"): SCALE for n in matrices})
    biases = {
        f"blk.{i}.ffn_{n}_exps.bias": Stored.floats(np.full((kinds.EXPERTS, kinds.WIDTH), 0.3))
        for i in (0, 1)
        for n in ("gate", "up", "down")
    }
    each = {
        n.replace(".weight", ".scale"): Stored.floats(np.linspace(0.4, 1.6, kinds.EXPERTS))
        for n in matrices
        if "_exps" in n
    }
    for i, scaled in enumerate((ones, plain.with_tensors({**biases, **each}))):
        wanted = logits_of(kinds.floats_of(scaled).write(tmp_path / "floats.gguf"))
        assert nmse(logits_of(scaled.write(tmp_path / f"{i}.gguf")), wanted) <= LIMIT


def test_factors_of_another_count_are_refused(tmp_path: Path) -> None:
    said = {DType.NVFP4: r"shape \(4,\), expected \(1,\)", DType.Q4_K: "not used by qwen2 here"}
    for dtype, why in said.items():
        wrong = {"blk.0.attn_q.scale": Stored.floats(np.ones(kinds.EXPERTS))}
        path = kinds.model([dtype]).with_tensors(wrong).write(tmp_path / "a.gguf")
        with pytest.raises((GGUFError, ModelError), match=rf"blk\.0\.attn_q\.scale: {why}"):
            load_exact(path, backend="cpu")


@pytest.mark.parametrize("name", ["blk.1.ffn_up.bias", "blk.0.post_ffw_norm.weight", "blk.0.attn_sinks.weight"])
def test_what_changes_results_is_never_ignored(name: str, tmp_path: Path) -> None:
    whole = kinds.model(FEW[:1], experts=True).with_tensors({name: Stored.floats(np.ones(kinds.WIDTH))})
    with pytest.raises(ModelError, match=rf"^{name}: not used by qwen3moe here, but a tensor that changes results$"):
        load_exact(whole.write(tmp_path / "a.gguf"), backend="cpu")


def test_what_changes_nothing_is_named_once(tmp_path: Path) -> None:
    more = {f"blk.{i}.attn_rot_embd.weight": Stored.floats(np.ones(32)) for i in (0, 1)}
    path = kinds.model(FEW[:1]).with_tensors({**more, "v.patch": SCALE}).write(tmp_path / "a.gguf")
    with load_exact(path, backend="cpu", n_ctx=64) as model:
        (note,) = model.info.notes
    assert note == "3 tensors are not used: blk.0.attn_rot_embd.weight, blk.1.attn_rot_embd.weight, v.patch"


def _spelt(contents: Contents, kind: str) -> Contents:
    """Numbers of another width, as arrays of equal ones, or tensors with axes of 1 that say nothing."""
    if kind == "axes":
        wide = {name: Stored(t.raw.reshape(1, *t.raw.shape), t.dtype) for name, t in contents.tensors.items()}
        return contents.with_tensors(wide)
    own = {k: v for k, v in contents.keys.items() if v[1] == "uint32"}
    made = {k: ([v[0]] * 2, "array of int32") if kind == "arrays" else (v[0], kind) for k, v in own.items()}
    made = {k: v for k, v in made.items() if kind != "arrays" or not k.endswith("block_count")}
    return Contents({**contents.keys, **made}, contents.tensors)


@pytest.mark.parametrize("kind", ["int64", "uint16", "arrays", "axes"])
@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
def test_spellings_make_no_difference(kind: str, experts: bool, tmp_path: Path) -> None:
    whole = kinds.model(FEW, experts=experts)
    wanted = logits_of(whole.write(tmp_path / "whole.gguf"))
    assert np.array_equal(logits_of(_spelt(whole, kind).write(tmp_path / "spelt.gguf")), wanted)
