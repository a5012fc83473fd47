"""Layouts over numpy arrays."""

import numpy as np

from .layout import Layout


def elements_of(flat: np.ndarray, layout: Layout, first: int = 0) -> np.ndarray:
    """A view of a flat array, which begins with element `first` of a storage, in the layout's shape."""
    strides = [s * flat.itemsize for s in layout.strides]
    return np.lib.stride_tricks.as_strided(flat[layout.offset - first :], layout.shape, strides)
