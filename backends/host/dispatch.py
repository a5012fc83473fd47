"""A dispatch as the runner of lanes.cpp takes it."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .kernels import HostKernel

WHY_NBYTES = 512


class _Dispatch(ctypes.Structure):
    """vkrun_dispatch of lanes.h."""

    _fields_ = (
        ("buffers", ctypes.c_void_p),
        ("nbytes", ctypes.c_void_p),
        ("cells", ctypes.c_void_p),
        ("arguments", ctypes.c_char_p),
        ("n_buffers", ctypes.c_uint),
        ("arguments_nbytes", ctypes.c_uint),
        ("grid", ctypes.c_uint * 3),
        ("subgroup", ctypes.c_uint),
        ("backwards", ctypes.c_uint),
        ("barriers", ctypes.c_void_p),
        ("why", ctypes.c_void_p),
        ("why_nbytes", ctypes.c_uint),
        ("threads", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Lanes:
    """How invocations run: lanes of a subgroup, and whether the last one of all goes first."""

    subgroup: int
    backwards: bool


@dataclass(frozen=True, eq=False)
class Bound:
    """A contiguous array that a kernel reads, and writes in place; with cells where its invocations shall not meet."""

    data: np.ndarray
    cells: np.ndarray | None = None


def cells_of(data: np.ndarray) -> np.ndarray:
    """A vkrun_cell of lanes.h for each 32-bit word; memory that is never touched costs nothing."""
    return np.zeros((data.nbytes // 4, 5), np.uint32)


class Dispatch:
    """A kernel with all that it takes, kept alive."""

    def __init__(
        self,
        kernel: HostKernel,
        buffers: Sequence[Bound],
        arguments: bytes,
        grid: Sequence[int],
        lanes: Lanes,
        threads: int = 0,
    ) -> None:
        """`threads`: of a workgroup, where the kernel leaves that open."""
        self._kernel, self._buffers, self._arguments = kernel, list(buffers), arguments
        self._pointers = np.array([b.data.ctypes.data for b in buffers], np.uintp)
        self._cells = np.array([0 if b.cells is None else b.cells.ctypes.data for b in buffers], np.uintp)
        self._nbytes = np.array([b.data.nbytes for b in buffers], np.uint64)
        self._why = ctypes.create_string_buffer(WHY_NBYTES)
        self._words = _Dispatch(
            *(self._pointers.ctypes.data, self._nbytes.ctypes.data, self._cells.ctypes.data),
            *(arguments, len(buffers), len(arguments)),
            *((ctypes.c_uint * 3)(*grid), lanes.subgroup, lanes.backwards),
            *(kernel.barriers.ctypes.data, ctypes.addressof(self._why), WHY_NBYTES, threads),
        )

    def run(self) -> str:
        """Empty, or what the kernel did that it must not, in a line."""
        return self._why.value.decode(errors="replace") if self._kernel.run(ctypes.byref(self._words)) else ""
