"""`vkrun perplexity` against numpy over the library's logits, and a divergence from what it saved."""

import re
from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.runtime.cli.main import main
from vkrun.tests.cli.running import MODEL, ON_CPU
from vkrun.tests.rewriting import Contents

TEXT = "def f(x):\n    return x + 1\n" * 6
N_CTX = 24


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT + "\n")  # the last newline of a file is none of the text
    return str(path)


def printed(capsys, *words: str) -> list[str]:
    assert main(["perplexity", *words, *ON_CPU]) == 0
    return capsys.readouterr().out.splitlines()


def expected(path: str, n_most: int) -> tuple[np.ndarray, np.ndarray]:
    """-log p [n_counted] and log p [n_counted, n_vocab] of the counted tokens of a text."""
    with vkrun.load(path, backend="cpu", n_ctx=N_CTX) as model:
        ids = model.tokenize(TEXT, special=False)
        nll, rows = [], []
        for start in range(0, min(n_most, len(ids) // N_CTX) * N_CTX, N_CTX):
            chunk = ids[start : start + N_CTX]
            logits = model.logits(chunk).astype(np.float64)
            for i in range(N_CTX // 2, N_CTX - 1):
                rows.append(logits[i] - np.log(np.exp(logits[i]).sum()))
                nll.append(-rows[-1][chunk[i + 1]])
    return np.array(nll), np.array(rows)


def test_perplexity_and_divergence(capsys, text, tmp_path) -> None:
    saved = str(tmp_path / "base.kld")
    other = Contents.of(Path(MODEL)).with_keys(attention__layer_norm_rms_epsilon=(0.1, "float32"))
    other = str(other.write(tmp_path / "other.gguf"))
    nll, rows = expected(other, 3)
    words = ["-c", str(N_CTX), "--chunks", "3", "--kl-divergence-base", saved]
    per_chunk, last = printed(capsys, other, "-f", text, *words)
    n = N_CTX - 1 - N_CTX // 2
    assert per_chunk == "".join(f"[{i}]{np.exp(nll[: i * n].mean()):.4f}," for i in (1, 2, 3))
    spread = nll.std() / (len(nll) - 1) ** 0.5
    assert last == f"Final estimate: PPL = {np.exp(nll.mean()):.4f} +/- {spread * np.exp(nll.mean()):.5f}"
    mine, mine_rows = expected(MODEL, 3)
    out = printed(capsys, "-m", MODEL, "--kl-divergence", "--kl-divergence-base", saved, "-b", "8")
    kld = (np.exp(rows) * (rows - mine_rows)).sum(-1)
    found = [float(x) for x in re.findall(r"-?\d+\.\d+", out[3])]
    assert found[0] == pytest.approx(np.exp(mine.mean()), abs=1e-3)
    assert found[2] == pytest.approx((mine - nll).mean(), abs=1e-4)
    assert found[4] == pytest.approx(kld.mean(), abs=3e-5) and kld.mean() > 1e-3


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ([], 2, "no text: -f FILE"),
        (["--kl-divergence"], 2, "--kl-divergence: from what? --kl-divergence-base FILE"),
        (["-f", "TEXT", "-c", "4096"], 2, "expected at least 8192: twice the context of 4096"),
        (["-f", "none"], 1, "-f none: cannot read: No such file or directory"),
        (["-f", "TEXT", "-m", MODEL], 2, "two models"),
        (["-f", "TEXT", "-c", "24", "--kl-divergence-base", "/dev/full"], 1, "/dev/full: cannot write: No space left"),
        (["--kl-divergence", "--kl-divergence-base", MODEL], 1, "no file of saved logits: it begins with b'GGUF"),
    ],
)
def test_what_cannot_be_measured_is_a_line(capsys, text, words, code, error) -> None:
    assert main(["perplexity", MODEL, *ON_CPU, *(text if w == "TEXT" else w for w in words)]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vkrun: ") and error in last
