"""Bytes between the host and the device, through pinned memory of the host, in the stream's order."""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..packing import Fill
from . import api
from .context import Context

SLOT_NBYTES = 16 << 20
N_SLOTS = 3
UNTIMED, TIMED = 2, 0  # CU_EVENT_DISABLE_TIMING, CU_EVENT_DEFAULT


class Pinned:
    """Memory of the host that the device copies from and to; `bytes` is all of it as uint8."""

    def __init__(self, nbytes: int) -> None:
        self.address = int(api.call("cuMemHostAlloc", max(nbytes, 1), 0))
        self.bytes = np.ctypeslib.as_array((ctypes.c_ubyte * max(nbytes, 1)).from_address(self.address))

    def close(self) -> None:
        if self.address:
            api.release("cuMemFreeHost", self.address)
            self.address = 0


class _Slot:
    def __init__(self) -> None:
        self.pinned, self.copied = Pinned(SLOT_NBYTES), api.call("cuEventCreate", UNTIMED)


class Uploads:
    """A ring of staging buffers, made at first use: the host fills one while the device copies from another. The caller
    has made the context current."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots: list[_Slot] = []
        self._next = 0

    def write(self, address: int, chunks: Iterable[tuple[int, Fill]]) -> None:
        """Chunks of (bytes, at most SLOT_NBYTES; who writes them), one after the other from `address` on."""
        for nbytes, fill in chunks:
            slot = self._free_slot()
            fill(slot.pinned.bytes[:nbytes])
            api.call("cuMemcpyHtoDAsync", address, slot.pinned.address, nbytes, self._context.stream)
            api.call("cuEventRecord", slot.copied, self._context.stream)
            address += nbytes

    def close(self) -> None:
        for slot in self._slots:
            slot.pinned.close()
            api.release("cuEventDestroy", slot.copied)
        self._slots.clear()

    def _free_slot(self) -> _Slot:
        if len(self._slots) < N_SLOTS:
            self._slots.append(_Slot())
            return self._slots[-1]
        self._next = (self._next + 1) % N_SLOTS
        api.call("cuEventSynchronize", self._slots[self._next].copied)
        return self._slots[self._next]


def download(context: Context, address: int, out: np.ndarray) -> None:
    """out.nbytes bytes from `address` into a contiguous array."""
    if out.nbytes:
        api.call("cuMemcpyDtoHAsync", out.ctypes.data, address, out.nbytes, context.stream)
    context.settle()


def zero(context: Context, spans: Iterable[tuple[int, int]]) -> None:
    """Zeros from each address on, for so many bytes."""
    for address, nbytes in spans:
        api.call("cuMemsetD8Async", address, 0, nbytes, context.stream)


def timed_events(n: int) -> list[Any]:
    return [api.call("cuEventCreate", TIMED) for _ in range(n)]
