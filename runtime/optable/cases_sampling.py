"""Cases of the op table: drawing a token, and moving the step buffer on."""

from collections.abc import Iterator

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.ops.sampling import N_SETTINGS, n_words, settings_row
from ..ir.tensor import Tensor
from .case import Case, Fill, Operand, integers, values

I32 = DType.I32
INF, NAN = float("inf"), float("nan")


def descending(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits that fall along the row, so that the ids 0, 1, 2, ... are the largest, largest first."""
    return -np.sort(-4 * rng.standard_normal(shape, np.float32), -1)


def counting(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)


def settings(temp: float, top_p: float, min_p: float, top_k: int) -> Fill:
    def rows(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.stack([settings_row(temp, top_p, min_p, top_k, int(rng.integers(2**32))) for _ in range(shape[0])])

    return rows


def _places(shape: Shape) -> np.ndarray:
    """Some order of a vocabulary, the same for each row."""
    return np.random.default_rng(shape[-1]).permutation(shape[-1])


def spread(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits whose n-th largest stands at `ranked`'s n-th id."""
    made = np.empty(shape, np.float32)
    made[:, _places(shape)] = descending(rng, shape)
    return made


def spread_far(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return 10 * spread(rng, shape)


def ranked(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """All ids of a vocabulary, those of `spread`'s largest logits first."""
    return np.broadcast_to(_places(shape).astype(np.int32), shape)


def _apart(t: Tensor) -> Tensor:
    """Every second row."""
    return t.slice(0, 1, t.shape[0], 2)


def _draws() -> Iterator[Case]:
    chosen = ((0.0, 1.0, 0.0, 0), (1.0, 1.0, 0.0, 0), (0.8, 0.95, 0.05, 40), (1.5, 0.5, 0.0, 7), (0.3, 1.0, 0.3, 0))
    for made in chosen:
        for n_seqs, n_vocab, k in ((1, 100, 1), (3, 100, 64), (29, 4096, 40)):
            what = "temp {}, top_p {}, min_p {}, top_k {}".format(*made) + f", {n_seqs} of {k} of {n_vocab}"
            operands = (
                Operand((n_seqs, n_vocab), fill=descending),
                Operand((n_seqs, k), I32, fill=counting),
                Operand((2 * n_seqs, N_SETTINGS), I32, _apart, settings(*made)),
                Operand((2 * n_seqs, 1), I32, _apart, integers(0, 5000)),
            )
            yield Case("draw", what, operands, {})
    yield from _whole_draws()


def _whole_draws() -> Iterator[Case]:
    """Hot enough that all of a small vocabulary are drawn, which are far apart in the last case."""
    hot = ((1.0, 0.0, 0), (1.0, 0.0, 1), (1.0, 0.0, 3), (1.0, 0.0, -2), (0.7, 0.0, 0), (1.0, 0.4, 0))
    for made in ((0.0, 1.0, 0.0, 0), (-1.0, 1.0, 0.0, 0), *((9.0, *rest) for rest in hot), (90.0, 1.0, 0.0, 0)):
        operands = (
            Operand((32, 7), fill=spread_far if made[0] == 90 else spread),
            Operand((32, 7), I32, fill=ranked),
            Operand((32, N_SETTINGS), I32, fill=settings(*made)),
            Operand((32, 1), I32, fill=integers(0, 5000)),
        )
        yield Case("draw", "temp {}, top_p {}, min_p {}, top_k {}, of a whole vocabulary".format(*made), operands, {})
    operands = (
        Operand((6, 9), fill=_unbounded),
        Operand((6, 9), I32, fill=counting),
        Operand((6, N_SETTINGS), I32, fill=settings(9.0, 1.0, 0.0, 0)),
        Operand((6, 1), I32, fill=integers(0, 5000)),
    )
    yield Case("draw", "a largest that is not finite", operands, {})


def _unbounded(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits that fall along the row from NaN or infinity."""
    made = descending(rng, shape)
    made[:, 0] = np.resize(np.array([NAN, INF], np.float32), shape[0])
    return made


def _some_idle(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Positions: some of the first token, some of -1, which is no sequence."""
    made = rng.integers(0, 4000, shape, np.int32)
    made[2::3], made[3::6] = -1, 0
    return made


def _advances() -> Iterator[Case]:
    for n_seqs, n_vocab in ((1, 4000), (5, 4000), (33, 4000), (33, 6)):
        logits = Operand((n_seqs, n_vocab), fill=values(-INF, NAN, INF, 0.5, -3.0))
        one = Operand((n_seqs, 1), I32, fill=integers(0, n_vocab))
        apart = Operand((2 * n_seqs, 1), I32, _apart, _some_idle)
        rows = Operand((2 * n_seqs,), I32, _apart, integers(-1, 9999))
        ring = Operand((n_seqs, 8), I32, fill=integers(0, 9))
        what = f"{n_seqs} sequences, {n_vocab} tokens"
        yield Case("advance", what, (logits, one, one, apart, rows, ring))
        for n_rows in (0, 1, 5, 96):
            of_windows, attrs = (logits, one, one, apart, rows, ring, rows), {"n_window_rows": n_rows}
            yield Case("advance", f"{what}, windows of {n_rows} rows", of_windows, attrs)


def _any_bits(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.integers(-(2**31), 2**31, shape).astype(np.int32)


def _masks() -> Iterator[Case]:
    for n_seqs, n_vocab in ((1, 1), (1, 32), (3, 33), (2, 257), (5, 4099), (4, 0)):
        logits, n = Operand((n_seqs, n_vocab), fill=values(-INF, NAN, INF, 0.5, -3.0)), n_words(n_vocab)
        apart = Operand((2 * n_seqs, n), I32, _apart, _any_bits)
        for what, mask in (("some", apart), ("none", Operand((n_seqs, n), I32, fill=values(0)))):
            yield Case(
                "mask_tokens", f"{what} of {n_vocab}, {n_seqs} sequences", (logits, mask), strided_out=n_seqs > 2
            )


CASES: tuple[Case, ...] = (*_draws(), *_masks(), *_advances())
