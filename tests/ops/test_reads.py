"""Rows of a storage are read alone, on every backend that is here."""

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.tensor import Kind, Storage


@pytest.mark.parametrize("backend", ["cpu", "host", "vulkan", "kompute"])
def test_some_rows_are_read_alone(backend: str) -> None:
    found, info = registry.choose(backend, None)
    device = found.open(info)
    try:
        for dtype in (DType.F32, DType.F16):
            s = Storage("s", Kind.STATE, dtype, (3, 7, 5))  # rows of F16 begin amid 32-bit words
            data = np.arange(105).reshape(3, 7, 5).astype(dtype.numpy)
            device.alloc([s])
            device.write(s, data)
            rows = data.reshape(21, 5)
            for row, n in ((0, 21), (3, 1), (20, 1), (5, 9), (4, 0)):
                assert np.array_equal(device.read(s, row, n), rows[row : row + n])
            for row, n in ((20, 2), (-1, 1), (0, 22)):
                with pytest.raises(BackendError, match=f"s: rows {row} to {row + n}, it has 21"):
                    device.read(s, row, n)
    finally:
        device.close()
