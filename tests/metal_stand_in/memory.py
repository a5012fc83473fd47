"""Buffers in shared storage: memory of this process."""

from typing import Any

import numpy as np

ALIGNMENT = 256
UNWRITTEN = 0  # newBufferWithLength clears what it gives


class Contents:
    """objc.varlist of a pointer."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data

    def as_buffer(self, nbytes: int) -> memoryview:
        assert nbytes <= self._data.nbytes
        return memoryview(self._data[:nbytes])


class Buffer:
    """MTLBuffer. `device` counts it as long as it lives."""

    def __init__(self, device: Any, nbytes: int) -> None:
        room = np.full(nbytes + ALIGNMENT, UNWRITTEN, np.uint8)
        self.data = room[-room.ctypes.data % ALIGNMENT :][:nbytes]
        self._device = device
        device.buffers.add(self)

    def length(self) -> int:
        return self.data.nbytes

    def contents(self) -> Contents:
        self._device.count("contents")
        return Contents(self.data)
