"""Embeddings of texts: how rows become one, by models that read a text at once and by those that go on with it."""

from pathlib import Path

import numpy as np
import pytest
from vkrun.runtime.errors import ModelError, UsageError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parent / "families"


def written(name: str, folder: Path, **keys: object) -> tuple[Path, Golden]:
    golden = Golden.load(FOLDER / f"{name}.npz")
    return golden.write(folder / f"{name}.gguf", keys=keys), golden


def of_length_one(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(("name", "pooling"), [("bert", "cls"), ("nomic-bert", "mean")])
def test_rows_become_an_embedding_as_the_file_says(name, pooling, tmp_path):
    path, golden = written(name, tmp_path)
    rows = golden.logits.astype(np.float64)
    wanted = {"mean": rows.mean(0), "cls": rows[0], "last": rows[-1]}
    with load_exact(path, backend="cpu", n_ctx=64, n_seqs=2) as model:
        made = model.embed([golden.ids, golden.ids[:5]])
        assert made.dtype == np.float32 and made.shape == (2, rows.shape[1])
        assert made[0] @ of_length_one(wanted[pooling]) >= 1 - 1e-6 and made[0] @ made[1] < 0.999
        for other, want in wanted.items():
            assert nmse(model.embed([golden.ids], other, normalise=False)[0], want) <= 1e-9
        assert model.embed([]).shape == (0, rows.shape[1])
        with pytest.raises(UsageError, match="pooling: 'most', expected mean, cls, last"):
            model.embed([golden.ids], "most")
        with pytest.raises(UsageError, match="makes embeddings of texts, and no text"):
            model.generate(golden.ids)


@pytest.mark.parametrize("name", ["qwen3", "qwen35", "nemotron-h"])
def test_a_model_of_text_gives_the_last_row_of_many_steps(name, tmp_path):
    path, golden = written(name, tmp_path, context_length=512)
    ids = (golden.ids * 9)[:200]
    with GGUFFile.open(path) as f:
        head = f.read_array(f.tensor("output.weight")).astype(np.float64)
    with load_exact(path, backend="cpu", n_ctx=256) as model:
        model.engine.configure(3, n_ubatch=64)
        row = model.embed([ids], normalise=False)[0]
        assert nmse(head @ row, model.logits(ids)[-1]) <= 1e-9
        assert nmse(model.embed([ids])[0], of_length_one(row)) <= 1e-12


def test_texts_that_are_too_long_or_empty(tmp_path):
    path, golden = written("bert", tmp_path)
    with load_exact(path, backend="cpu", n_ctx=512) as model:
        assert nmse(model.embed([golden.ids * 10])[0], model.embed([golden.ids])[0]) > 1e-6
        with pytest.raises(UsageError, match="text: 264 tokens, but the model reads at most 256 at once"):
            model.embed([golden.ids * 11])
        with pytest.raises(UsageError, match="prompt"):
            model.embed([[]])


def test_a_pooling_that_is_not_known(tmp_path):
    path, _ = written("bert", tmp_path, pooling_type=4)
    with pytest.raises(ModelError, match=r"bert\.pooling_type: 4, expected one of 0, 1, 2, 3"):
        load_exact(path, backend="cpu")
