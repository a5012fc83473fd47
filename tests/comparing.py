"""How near two results are."""

import numpy as np


def nmse(got: np.ndarray, wanted: np.ndarray) -> float:
    """sum((got - wanted)^2) / sum(wanted^2); NaN in either makes it NaN, which no limit lets pass."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return float(((got - wanted) ** 2).sum() / (wanted**2).sum())
