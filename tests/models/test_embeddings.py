"""Embeddings in the place of tokens: one graph serves both, by a number in the step buffer."""

import numpy as np
import pytest
from vkrun.runtime.errors import UsageError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.models.step import Chunk
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model


@pytest.mark.full("kompute")
@pytest.mark.parametrize("no_select", ["0", "1"])
def test_the_rows_of_tokens_as_embeddings_give_the_tokens_logits(tmp_path, backend, monkeypatch, no_select):
    monkeypatch.setenv("VKRUN_NO_SELECT", no_select)
    path, ids = write_model(tmp_path / "m.gguf"), [3, 60, 7, 7, 12]
    with GGUFFile.open(path) as f:
        table = f.read_array(f.tensor("token_embd.weight"))
    with load_exact(path, backend=backend, n_ctx=64) as model:
        wanted = model.logits(ids)
        rows = Chunk(0, 0, ids, table[ids])
        model.engine.reset(0)
        assert nmse(model.engine.step([rows], 8, every=True), wanted) <= 1e-12
        model.engine.reset(0)
        assert nmse(model.engine.step([Chunk(0, 0, ids, table[ids[::-1]])], 8, every=True), wanted) > 1e-3


def test_either_all_chunks_bring_embeddings_or_none(tmp_path):
    with load_exact(write_model(tmp_path / "m.gguf"), backend="cpu", n_ctx=64, n_seqs=2) as model:
        chunks = [Chunk(0, 0, [1], np.zeros((1, 32), np.float32)), Chunk(1, 0, [1])]
        with pytest.raises(UsageError, match="1 of 2 bring embeddings"):
            model.engine.step(chunks)
