"""Perplexities and divergences in the lines that llama.cpp prints, which other programs read."""

from collections.abc import Iterator

import numpy as np

from .scores import Divergence, Pair, covariance, exp_of, mean_of

FEWEST = 100  # tokens, of which statistics say something
HEAD = (
    "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            "
    "Same top p"
)


def running(i_chunk: int, nll: np.ndarray) -> str:
    """`[1]5.4321,`: the perplexity of the chunks so far, the last being i_chunk, from 0."""
    return f"[{i_chunk + 1}]{np.exp(nll.mean()):.4f},"


def final(nll: np.ndarray) -> str:
    mean, variance = float(nll.mean()), float((nll * nll).mean() - nll.mean() ** 2)
    if variance <= 0 or len(nll) < 2:
        return "Unexpected negative standard deviation of log(prob)"
    ppl = float(np.exp(mean))
    return f"Final estimate: PPL = {ppl:.4f} +/- {(variance / (len(nll) - 1)) ** 0.5 * ppl:.5f}"


def row(i_chunk: int, d: Divergence) -> str:
    """Under HEAD: of the chunks so far."""
    cells = [
        _pair(exp_of(mean_of(d.nll)), 9, 4),
        _pair(d.ln_ratio, 10, 5),
        _pair(mean_of(d.kld), 10, 5),
        _pair(_percent(d.p_rms), 6, 3) + " %",
        _pair(_percent(d.top), 6, 3) + " %",
    ]
    return "    ".join([f"{i_chunk + 1:4d}", *cells])


def statistics(d: Divergence) -> Iterator[str]:
    """Lines of all that is known in the end; none of fewer than FEWEST tokens."""
    if len(d.nll) < FEWEST:
        return
    mine, base = mean_of(d.nll), mean_of(d.nll_base)
    shared = covariance(d.nll, d.nll_base)
    (ppl, a), (ppl_base, b) = exp_of(mine), exp_of(base)
    spread = max(0.0, a * a + b * b - 2 * ppl * ppl_base * shared) ** 0.5
    both = mine[1] * base[1]
    yield "====== Perplexity statistics ======"
    yield f"Mean PPL(Q)                   : {_pair((ppl, a), 10, 6)}"
    yield f"Mean PPL(base)                : {_pair((ppl_base, b), 10, 6)}"
    yield f"Cor(ln(PPL(Q)), ln(PPL(base))): {100 * shared / both if both else float('nan'):6.2f}%"
    yield f"Mean ln(PPL(Q)/PPL(base))     : {_pair(d.ln_ratio, 10, 6)}"
    yield f"Mean PPL(Q)/PPL(base)         : {_pair(exp_of(d.ln_ratio), 10, 6)}"
    yield f"Mean PPL(Q)-PPL(base)         : {_pair((ppl - ppl_base, spread), 10, 6)}"
    yield ""
    yield "====== KL divergence statistics ======"
    yield f"Mean    KLD: {_pair(mean_of(d.kld), 10, 6)}"
    for name, q in _percentiles("99.9 99.0 95.0 90.0 Median 10.0 5.0 1.0 0.1"):
        yield f"{name} KLD: {np.quantile(d.kld, q):10.6f}"
    yield ""
    yield "====== Token probability statistics ======"
    mean, spread = _percent(mean_of(d.p_diff))
    yield f"Mean    Δp: {mean:6.3f} ± {spread:5.3f} %"
    for name, q in _percentiles("99.9 99.0 95.0 90.0 75.0 Median 25.0 10.0 5.0 1.0 0.1"):
        yield f"{name} Δp: {100 * np.quantile(d.p_diff, q):6.3f}%"
    for name, pair in {"RMS Δp    ": d.p_rms, "Same top p": d.top}.items():
        mean, spread = _percent(pair)
        yield f"{name}: {mean:6.3f} ± {spread:5.3f} %"


def _percentiles(inner: str) -> Iterator[tuple[str, float]]:
    """Names, seven wide, and fractions: the largest, those of `inner`, the least."""
    yield "Maximum", 1.0
    for name in inner.split():
        yield ("Median ", 0.5) if name == "Median" else (f"{float(name):4.1f}%  ", float(name) / 100)
    yield "Minimum", 0.0


def _pair(pair: Pair, width: int, digits: int) -> str:
    return f"{pair[0]:{width}.{digits}f} ± {pair[1]:{width}.{digits}f}"


def _percent(pair: Pair) -> Pair:
    return 100 * pair[0], 100 * pair[1]
