"""A dispatch as the runner of lanes.cpp takes it."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WHY_NBYTES = 512


class _Dispatch(ctypes.Structure):
    """vkrun_dispatch of lanes.h."""

    _fields_ = (
        ("buffers", ctypes.c_void_p),
        ("nbytes", ctypes.c_void_p),
        ("arguments", ctypes.c_char_p),
        ("n_buffers", ctypes.c_uint),
        ("arguments_nbytes", ctypes.c_uint),
        ("grid", ctypes.c_uint * 3),
        ("subgroup", ctypes.c_uint),
        ("backwards", ctypes.c_uint),
        ("why", ctypes.c_void_p),
        ("why_nbytes", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Lanes:
    """How invocations run: lanes of a subgroup, and whether the last one of all goes first."""

    subgroup: int
    backwards: bool


class Dispatch:
    """A kernel's function with all that it takes, kept alive. Buffers are contiguous arrays, written in place."""

    def __init__(
        self, kernel: Any, buffers: Sequence[np.ndarray], arguments: bytes, grid: Sequence[int], lanes: Lanes
    ) -> None:
        self._kernel, self._buffers, self._arguments = kernel, list(buffers), arguments
        self._pointers = np.array([b.ctypes.data for b in buffers], np.uintp)
        self._nbytes = np.array([b.nbytes for b in buffers], np.uint64)
        self._why = ctypes.create_string_buffer(WHY_NBYTES)
        self._words = _Dispatch(
            *(self._pointers.ctypes.data, self._nbytes.ctypes.data, arguments, len(buffers), len(arguments)),
            *((ctypes.c_uint * 3)(*grid), lanes.subgroup, lanes.backwards, ctypes.addressof(self._why), WHY_NBYTES),
        )

    def run(self) -> str:
        """Empty, or what the kernel did that it must not, in a line."""
        return self._why.value.decode(errors="replace") if self._kernel(ctypes.byref(self._words)) else ""
