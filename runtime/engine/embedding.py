"""From the rows of a text's tokens to its embedding."""

import numpy as np


def pooled(rows: np.ndarray, pooling: str) -> np.ndarray:
    """[n_tokens, width] -> [width]: the mean of the rows, that of the first token (cls) or of the last one."""
    if pooling == "mean":
        return rows.mean(0, dtype=np.float64)
    return rows[0 if pooling == "cls" else -1].astype(np.float64)


def normalised(x: np.ndarray) -> np.ndarray:
    """Of length 1, but for 0."""
    length = float(np.sqrt((x.astype(np.float64) ** 2).sum()))
    return x / length if length else x
