"""Bytes between the host and the device, through pinned memory of the host, in the stream's order."""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..packing import Fill
from ..staging import Ring
from . import api
from .context import Context

SLOT_NBYTES = 16 << 20
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

    def finish(self) -> None:
        api.call("cuEventSynchronize", self.copied)

    def close(self) -> None:
        self.pinned.close()
        api.release("cuEventDestroy", self.copied)


class Uploads:
    """Any thread may write; what it brings is put into pinned memory without the device's lock."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ring = Ring(_Slot, _Slot.finish, context.current)

    def write(self, address: int, chunks: Iterable[tuple[int, Fill]]) -> None:
        """Chunks of (bytes, at most SLOT_NBYTES; who writes them), one after the other from `address` on."""
        for nbytes, fill in chunks:
            with self._ring.taken() as slot:
                fill(slot.pinned.bytes[:nbytes])
                with self._context.current():
                    api.call("cuMemcpyHtoDAsync", address, slot.pinned.address, nbytes, self._context.stream)
                    api.call("cuEventRecord", slot.copied, self._context.stream)
            address += nbytes

    def close(self) -> None:
        for slot in self._ring.slots:
            slot.close()


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
