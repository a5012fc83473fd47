"""Judge: what an op means, said once more by another. And what judges share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
ROUNDING = 2.5e-7  # to float32, and once or twice on the way


@dataclass(frozen=True)
class Judge:
    """An op's outputs from its inputs, by a reference evaluator that is not ours or by plain loops over the definition.

    outputs(*inputs, **attrs): float64 and int64 arrays in, a tuple of arrays out; block types come dequantised. Of an
        output written in place the whole new content of that tensor.
    limit: the largest error that is allowed, as a part of the largest number in its row (the last axis).
    each: as a part of the number itself instead.
    """

    outputs: Callable[..., tuple[Array, ...]]
    limit: float = 0.0
    each: bool = False


def clamped(ids: Array, n: int) -> Array:
    """Ids moved into [0, n)."""
    return np.array([min(max(int(i), 0), n - 1) for i in ids.reshape(-1)], np.int64).reshape(ids.shape)
