"""Bytes between the host and memory that it cannot see: a ring of staging buffers up, one down."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..packing import Fill
from ..staging import Ring
from .api import vk
from .logical import Logical, copy, submit_info
from .memory import COHERENT, VISIBLE, Place, Pool

SLOT_NBYTES = 16 << 20


class _Slot:
    def __init__(self, logical: Logical, place: Place) -> None:
        self.place, self.busy = place, False
        (self.command,) = logical.commands(1)
        self.info = submit_info([self.command])
        self.fences = vk.array("VkFence", [logical.fence()])


class Uploads:
    """Any thread may write; what it brings is put into staging memory without the device's lock."""

    def __init__(self, logical: Logical) -> None:
        self._logical = logical
        self._pool = Pool(logical, [VISIBLE | COHERENT], apart=True)
        self._ring = Ring(self._new_slot, self._finish, lambda: logical.lock)

    def write(self, place: Place, offset: int, chunks: Iterable[tuple[int, Fill]]) -> None:
        """Chunks of (bytes, at most SLOT_NBYTES; who writes them), one after the other from place + offset on."""
        for nbytes, fill in chunks:
            with self._ring.taken() as slot:
                fill(slot.place.bytes[:nbytes])
                with self._logical.lock:
                    self._send(slot, place, offset, nbytes)
            offset += nbytes

    def flush(self) -> None:
        """Wait until all that was written has arrived."""
        with self._logical.lock:
            self._ring.flush()

    def _new_slot(self) -> _Slot:
        (place,) = self._pool.take([("staging", SLOT_NBYTES)])
        return _Slot(self._logical, place)

    def _finish(self, slot: _Slot) -> None:
        if slot.busy:
            self._logical.wait(slot.fences)
            slot.busy = False

    def _send(self, slot: _Slot, place: Place, offset: int, nbytes: int) -> None:
        source = slot.place.block.buffer, slot.place.offset
        with self._logical.recording(slot.command):
            self._logical.everything.record(slot.command)
            copy(slot.command, source, (place.block.buffer, place.offset + offset), nbytes)
            self._logical.everything.record(slot.command)
        self._logical.submit(slot.info, slot.fences[0])
        slot.busy = True

    def close(self) -> None:
        vk.vkDeviceWaitIdle(self._logical.handle)  # unchecked: a lost device is closed all the same
        for slot in self._ring.slots:
            vk.vkDestroyFence(self._logical.handle, slot.fences[0], vk.null)
            self._logical.free_commands([slot.command])
        self._pool.close()


def download(logical: Logical, pool: Pool, place: Place, offset: int, out: np.ndarray) -> None:
    """out.size bytes of a place from `offset` on into uint8 `out`, through a mapped buffer of `pool`."""
    with logical.lock:
        _download(logical, pool, place, offset, out)


def _download(logical: Logical, pool: Pool, place: Place, offset: int, out: np.ndarray) -> None:
    (staging,) = pool.take([("download", max(4, min(out.size, SLOT_NBYTES)))])
    try:
        for start in range(0, out.size, SLOT_NBYTES):
            n = min(SLOT_NBYTES, out.size - start)
            source = place.block.buffer, place.offset + offset + start
            target = staging.block.buffer, staging.offset

            def record(command: Any, ends: tuple = (source, target, n)) -> None:
                copy(command, *ends)

            logical.once(record)
            out[start : start + n] = staging.bytes[:n]
    finally:
        pool.give([staging])


def zero(logical: Logical, places: Iterable[Place]) -> None:
    """Fill places with zeros."""
    listed = list(places)
    for p in listed:
        if p.is_mapped:
            p.bytes[:] = 0
    hidden = [p for p in listed if not p.is_mapped]

    def record(command: Any) -> None:
        for p in hidden:
            vk.vkCmdFillBuffer(command, p.block.buffer, p.offset, -(-max(p.nbytes, 1) // 4) * 4, 0)

    if hidden:
        logical.once(record)
