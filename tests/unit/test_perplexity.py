"""Perplexity and divergence against plain loops over their definitions, and the format that logits are saved in."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vkrun.runtime.cli import perplexity as command
from vkrun.runtime.errors import UsageError, VkrunError
from vkrun.runtime.perplexity import base_file, lines, scores

N_VOCAB = 37
RNG = np.random.default_rng(5)
LOGITS, OTHER = RNG.normal(0, 3, (2, 40, N_VOCAB)).astype(np.float32)
TARGETS = RNG.integers(0, N_VOCAB, 40)


def log_p(row: np.ndarray) -> list[float]:
    """By the definition: log(exp(x) / sum exp)."""
    exps = [math.exp(float(x)) for x in row]
    return [math.log(e / sum(exps)) for e in exps]


def test_chunks() -> None:
    assert scores.chunks_of(range(11), 5).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert scores.chunks_of(range(11), 5, 1).shape == (1, 5)
    assert [scores.n_counted(n) for n in (3, 4, 5, 512)] == [1, 1, 2, 255]
    with pytest.raises(UsageError, match="the text has 9 tokens, expected at least 10"):
        scores.chunks_of(range(9), 5)


def test_perplexity_is_its_definition() -> None:
    own = scores.nll(scores.log_softmax(LOGITS), TARGETS)
    wanted = [-log_p(row)[t] for row, t in zip(LOGITS, TARGETS, strict=True)]
    np.testing.assert_allclose(own, wanted, rtol=1e-12)
    mean = sum(wanted) / 40
    spread = math.sqrt((sum(v * v for v in wanted) / 40 - mean**2) / 39)
    assert lines.final(own) == f"Final estimate: PPL = {math.exp(mean):.4f} +/- {spread * math.exp(mean):.5f}"
    assert lines.running(6, own) == f"[7]{math.exp(mean):.4f},"
    assert lines.final(np.ones(4)).startswith("Unexpected negative standard deviation")
    big = scores.log_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32))
    assert np.isfinite(big).all() and big[0, 0] == 0


def test_divergence_is_its_definition() -> None:
    base = scores.log_softmax(OTHER)
    base[3, 5] = -16.0  # at the floor: no part of the sum
    made = scores.Divergence()
    made.add(LOGITS[:13], base[:13], TARGETS[:13])
    made.add(LOGITS[13:], base[13:], TARGETS[13:])
    for i in range(40):
        mine = log_p(LOGITS[i])
        kld = sum(math.exp(b) * (b - m) for b, m in zip(base[i], mine, strict=True) if b > -16)
        assert made.kld[i] == pytest.approx(kld, rel=1e-9)
        t = TARGETS[i]
        assert made.p_diff[i] == pytest.approx(math.exp(mine[t]) - math.exp(base[i][t]), abs=1e-12)
        assert made.same_top[i] == (mine.index(max(mine)) == int(base[i].argmax()))
    mean, spread = made.ln_ratio
    gaps = made.nll - made.nll_base
    assert mean == pytest.approx(gaps.mean()) and spread == pytest.approx(gaps.std() / 39**0.5)
    assert made.p_rms[0] == pytest.approx(math.sqrt((made.p_diff**2).mean()))
    p = made.same_top.mean()
    assert made.top == (pytest.approx(p), pytest.approx(math.sqrt(p * (1 - p) / 39)))


def test_statistics_are_llama_cpps_lines() -> None:
    made = scores.Divergence()
    assert list(lines.statistics(made)) == []
    for _ in range(3):
        made.add(LOGITS, scores.log_softmax(OTHER), TARGETS)
    told = dict(line.split(":", 1) for line in lines.statistics(made) if ":" in line)
    ppl, ppl_base = np.exp(made.nll.mean()), np.exp(made.nll_base.mean())
    assert told["Mean PPL(Q)                   "].startswith(f" {ppl:10.6f} ± ")
    assert told["Mean PPL(Q)/PPL(base)         "].startswith(f" {ppl / ppl_base:10.6f} ± ")
    cor = np.corrcoef(made.nll, made.nll_base)[0, 1]
    assert told["Cor(ln(PPL(Q)), ln(PPL(base)))"] == f" {100 * cor:6.2f}%"
    assert told["Median  KLD"] == f" {np.median(made.kld):10.6f}"
    assert told[" 5.0%   KLD"] == f" {np.percentile(made.kld, 5):10.6f}"
    assert told["Maximum Δp"] == f" {100 * made.p_diff.max():6.3f}%"
    assert told["Same top p"].startswith(f" {100 * made.same_top.mean():6.3f} ± ")
    assert lines.row(2, made).split()[:2] == ["3", f"{ppl:.4f}"]


@pytest.mark.parametrize("n_vocab", [N_VOCAB, N_VOCAB - 1])
def test_packed_rows_are_as_the_format_says(n_vocab: int) -> None:
    rows = base_file.pack(LOGITS[:, :n_vocab])
    assert rows.dtype == np.uint16 and rows.shape == (40, n_vocab + n_vocab % 2 + 4)
    for packed, row in zip(rows, LOGITS[:, :n_vocab], strict=True):
        scale, least = np.frombuffer(packed[:4].tobytes(), "<f4")
        low = max(row.min(), row.max() - 16)
        assert scale == pytest.approx((row.max() - low) / 65535, rel=1e-6)
        wanted = np.maximum(log_p(row), low - float(row.max()) + max(log_p(row)))
        assert least == pytest.approx(wanted.min(), rel=1e-6)
        steps = packed[4 : 4 + n_vocab].astype(float)
        np.testing.assert_allclose(least + scale * steps, wanted, atol=0.51 * scale + 3e-6)
    unpacked = base_file.unpack(rows, n_vocab)
    assert unpacked.shape == (40, n_vocab) and np.array_equal(unpacked.argmax(-1), LOGITS[:, :n_vocab].argmax(-1))
    same = base_file.unpack(base_file.pack(np.ones((1, 4), np.float32)), 4)
    np.testing.assert_allclose(same, math.log(0.25), rtol=1e-6)


def saved(path: Path) -> bytes:
    tokens = np.arange(12, dtype=np.int32).reshape(2, 6)
    data = base_file.head_of(tokens, N_VOCAB) + b"".join(base_file.pack(x).tobytes() for x in (LOGITS[:2], LOGITS[2:4]))
    path.write_bytes(data)
    return data


def test_a_saved_file_is_read_back(tmp_path: Path) -> None:
    data = saved(tmp_path / "a")
    assert data[:20] == b"_logits_" + bytes([6, 0, 0, 0, N_VOCAB, 0, 0, 0, 2, 0, 0, 0])
    with base_file.Base.open(str(tmp_path / "a")) as base:
        assert base.n_vocab == N_VOCAB and base.tokens.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
        for rows in (LOGITS[:2], LOGITS[2:4]):
            assert np.array_equal(base.next_chunk(), base_file.unpack(base_file.pack(rows), N_VOCAB))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = saved(path)
    huge = b"_logits_" + np.array([2**31 - 1] * 3, "<i4").tobytes()
    for bad in (b"", data[:-1], data + b"x", b"GGUF" + data[4:], huge, b"_logits_" + bytes(12), data[:13]):
        path.write_bytes(bad)
        with pytest.raises(VkrunError, match=r"no file of saved logits|bytes, expected"):
            base_file.Base.open(str(path))
    with pytest.raises(VkrunError, match="cannot read: No such file"):
        base_file.Base.open(str(tmp_path / "none"))


@pytest.mark.parametrize(("add_bos", "first"), [(True, 99), (False, 6)])
def test_bos_takes_the_first_place_of_a_chunk(add_bos: bool, first: int) -> None:
    read: list[list[int]] = []
    vocab = SimpleNamespace(add_bos=add_bos, bos_id=99)
    logits = np.arange(6)[:, None] + np.zeros((6, 3))
    model: Any = SimpleNamespace(tokenizer=SimpleNamespace(vocab=vocab), logits=lambda ids: read.append(ids) or logits)
    found = list(command._logits(model, np.arange(6, 18, dtype=np.int32).reshape(2, 6)))
    assert read == [[first, 7, 8, 9, 10, 11], [99 if add_bos else 12, 13, 14, 15, 16, 17]]
    for chunk, rows in found:
        assert rows[:, 0].tolist() == [3, 4] and command._targets(chunk).tolist() == chunk[4:].tolist()
