"""Cases of the op table: drawing a token, and moving the step buffer on."""

from collections.abc import Iterator

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.ops.sampling import N_SETTINGS, settings_row
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


def _apart(t: Tensor) -> Tensor:
    """Every second row."""
    return t.slice(0, 1, t.shape[0], 2)


def _draws() -> Iterator[Case]:
    chosen = ((0.0, 1.0, 0.0, 0), (1.0, 1.0, 0.0, 0), (0.8, 0.95, 0.05, 40), (1.5, 0.5, 0.0, 7), (0.3, 1.0, 0.3, 0))
    for made in chosen:
        for n_seqs, n_vocab, k in ((1, 100, 1), (3, 100, 64), (32, 4096, 40)):
            what = "temp {}, top_p {}, min_p {}, top_k {}".format(*made) + f", {n_seqs} of {k} of {n_vocab}"
            operands = (
                Operand((n_seqs, n_vocab), fill=descending),
                Operand((n_seqs, k), I32, fill=counting),
                Operand((2 * n_seqs, N_SETTINGS), I32, _apart, settings(*made)),
                Operand((2 * n_seqs, 1), I32, _apart, integers(0, 5000)),
            )
            yield Case("draw", what, operands, {})


def _advances() -> Iterator[Case]:
    for n_seqs in (1, 5, 33):
        logits = Operand((n_seqs, 4000), fill=values(-INF, NAN, INF, 0.5, -3.0))
        one = Operand((n_seqs, 1), I32, fill=integers(0, 4000))
        apart = Operand((2 * n_seqs, 1), I32, _apart, integers(-1, 4000))
        rows = Operand((2 * n_seqs,), I32, _apart, integers(-1, 9999))
        yield Case(
            "advance",
            f"{n_seqs} sequences",
            (logits, one, one, apart, rows, Operand((n_seqs, 8), I32, fill=integers(0, 9))),
            {},
        )


CASES: tuple[Case, ...] = (*_draws(), *_advances())
