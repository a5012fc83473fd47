"""Files of every family with something missing or wrong: one line that names it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from vkrun.runtime.errors import GGUFError, ModelError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.models import Capacity, open_model
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parents[1] / "models/families"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
# what files of some models of a family have, and others do not
OPTIONAL = re.compile(
    r"blk\.1\.attn_v|\.bias$|^output\.weight$|^rope_|layer_output_scale|ffn_down_exps\.scale|attn_[qk]_norm|ffn_gate_inp_shexp"
)
# a tensor that holds several is missed by the name of the first of these
INSTEAD = {"attn_qkv": "attn_q", "attn_kv_b": "attn_k_b", "ffn_up": "ffn_gate", "ffn_gate_up_exps": "ffn_gate_exps"}


@pytest.fixture(scope="module", params=NAMES)
def file(request, tmp_path_factory) -> Iterator[GGUFFile]:
    golden = Golden.load(FOLDER / f"{request.param}.npz")
    with GGUFFile.open(golden.write(tmp_path_factory.mktemp("bad") / "a.gguf")) as f:
        yield f


def opened(f: GGUFFile, **changed: Mapping[str, Any]) -> str:
    """What open_model says of a file whose keys, types or tensors are others; "" where nothing."""
    before = {name: getattr(f, name) for name in changed}
    try:
        for name, values in changed.items():
            setattr(f, name, MappingProxyType(dict(values)))
        open_model(f, Capacity(64))
    except (GGUFError, ModelError) as error:
        return str(error)
    finally:
        for name, values in before.items():
            setattr(f, name, values)
    return ""


def with_keys(f: GGUFFile, **values: int) -> str:
    arch = f.get_str("general.architecture")
    named = {f"{arch}.{key.replace('__', '.')}": value for key, value in values.items()}
    return opened(f, keys={**f.keys, **named}, types={**f.types, **dict.fromkeys(named, "uint32")})


def test_a_missing_tensor_is_named(file):
    for name in file.tensors:
        said = opened(file, tensors={n: t for n, t in file.tensors.items() if n != name})
        if said or not OPTIONAL.search(name):
            stem = name.removesuffix(".weight").rpartition(".")[2]
            named = stem in said or INSTEAD.get(stem, stem) in said
            assert named and "missing" in said and said.isprintable(), (name, said)


def test_a_tensor_of_another_shape_is_named(file):
    for name, info in file.tensors.items():
        wrong = replace(info, shape=(*info.shape[:-1], info.shape[-1] + 1))
        said = opened(file, tensors={**file.tensors, name: wrong})
        assert said.isprintable() and (name in said or name == "token_embd.weight"), (name, said)


def test_heads_that_do_not_divide(file):
    n = int(file.get_ints(f"{file.get_str('general.architecture')}.attention.head_count", length=1)[0])
    said = with_keys(file, attention__head_count_kv=n + 1)
    assert f"attention.head_count_kv: {n + 1}, expected a divisor of {n}" in said


def test_more_experts_used_than_there_are(file):
    arch = file.get_str("general.architecture")
    if not (n := file.get_int(f"{arch}.expert_count", 0)):
        assert with_keys(file, expert_count=2, expert_used_count=1)  # of which no tensor is there
        return
    said = with_keys(file, expert_used_count=n + 1)
    assert f"{arch}.expert_used_count: {n + 1}, expected at most {n}" in said


def test_an_odd_or_too_long_turned_part(file):
    arch = file.get_str("general.architecture")
    turns = arch not in ("bert", "gpt2", "kimi-linear") and file.get_bool(f"{arch}.rope.scaling.finetuned", True)
    for n in (3, 1000):
        said = with_keys(file, rope__dimension_count=n)
        assert "rope.dimension_count" in said or not turns, said


@pytest.mark.parametrize(("name", "near"), [("qwen4", "qwen"), ("gemma9", "gemma"), ("glm5moe", "glm4moe"), ("x", "")])
def test_an_unknown_architecture_is_named_with_the_nearest(name, near, tmp_path):
    golden = replace(Golden.load(FOLDER / "llama.npz"), architecture=name)
    with GGUFFile.open(golden.write(tmp_path / "a.gguf")) as f:
        said = opened(f)
    assert said.startswith(f"general.architecture: {name} is not supported, the nearest is {near}")
    assert all(known in said for known in ("llama", "gemma4", "deepseek2")) and said.isprintable()
