"""The memory of an open device: storages in a few blocks, written and read by the host."""

from collections.abc import Iterable
from threading import RLock

import numpy as np

from ...runtime import config
from ...runtime.errors import BackendError
from ...runtime.ir.arrays import elements_of
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage, Tensor
from ...shaders.kernel import Features
from ..host_memory import host_nbytes_free
from ..packing import device_bytes, host_bytes, packed_nbytes, row_nbytes
from ..residents import homeless
from ..room import require_room
from .api import BLOCK_NBYTES, Api, Block
from .memory import Place, Places, place, place_temps
from .transfer import Transfers


class Store:
    """`on_host`: weights, states and temporaries stand in memory that the host sees too, which is right where the
    device has no other. Elsewhere they stand in the device's own, without a copy on the host. Inputs and outputs are
    always in memory that both see.

    Memory comes back block by block: once all storages that share a block are freed. Under VKRUN_VALIDATE each storage
    has a block of its own, since the validation layer takes all accesses to a binding for accesses to all of it.
    `lock` is held by whatever uses the device.
    """

    def __init__(self, api: Api, features: Features, on_host: bool) -> None:
        self._api, self._on_host = api, on_host
        self._limit = 0 if config.read().validate else BLOCK_NBYTES
        self._places: Places = {}
        self._transfers = Transfers(api, features)
        self.lock = RLock()

    def alloc(self, storages: Iterable[Storage]) -> None:
        wanted = [s for s in dict.fromkeys(storages) if s not in self._places]
        config.note(1, f"kompute: {len(wanted)} storages of {sum(map(packed_nbytes, wanted))} bytes")
        try:
            for kind in (Kind.WEIGHT, Kind.CONSTANT, Kind.STATE, Kind.INPUT):
                self._alloc_kind([s for s in wanted if s.kind is kind], kind)
        except BackendError:
            self.free(wanted)
            raise

    def alloc_temps(self, plan: Plan) -> Places:
        """Memory for a plan's temporaries, the caller's to give back."""
        return place_temps(plan, self._make, self._make_shared, self._limit)

    def free(self, storages: Iterable[Storage]) -> None:
        gone = {p.block for s in storages if (p := self._places.pop(s, None))}
        self.give_back(gone - {p.block for p in self._places.values()})

    def give_back(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._transfers.forget(block)
            block.close()

    def place_of(self, storage: Storage) -> Place:
        if storage not in self._places:
            raise homeless(storage)
        return self._places[storage]

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        where, raw = self.place_of(storage), host_bytes(storage, data, row)
        at = where.offset + row * row_nbytes(storage)[1]
        self._transfers.write(where.block, at, device_bytes(storage, raw))

    def bytes_of(self, storage: Storage, start: int, nbytes: int) -> np.ndarray:
        """A copy of some bytes of a storage, as uint8."""
        where = self.place_of(storage)
        return self._transfers.read(where.block, where.offset + start, nbytes)

    def read(self, t: Tensor, where: Place) -> np.ndarray:
        """A copy of a view of plain numbers that stands in `where`, in its shape."""
        if t.dtype.is_quantised:
            raise BackendError(f"{t}: block types cannot be read back")
        (lo, hi), size = t.layout.span, t.dtype.block_bytes
        flat = self._transfers.read(where.block, where.offset + lo * size, (hi - lo) * size).view(t.dtype.numpy)
        return elements_of(flat, t.layout, lo).copy()

    def check(self) -> None:
        """BackendError when the device is lost."""
        self._transfers.check()

    def idle_seconds(self) -> float:
        return self._transfers.idle_seconds()

    def close(self) -> None:
        self._transfers.close()
        self.free(list(self._places))

    def _alloc_kind(self, storages: list[Storage], kind: Kind) -> None:
        new = place(storages, self._make_shared if kind is Kind.INPUT else self._make, self._limit)
        self._places |= new
        if kind in (Kind.STATE, Kind.INPUT):
            self._clear({p.block for p in new.values()})

    def _make(self, nbytes: int) -> Block:
        return self._make_shared(nbytes) if self._on_host else self._api.block(nbytes, on_host=False)

    def _make_shared(self, nbytes: int) -> Block:
        """kp writes through a null pointer when memory runs out: what cannot be had must not be asked for."""
        require_room("kompute", [("a buffer", nbytes)], host_nbytes_free())
        return self._api.block(nbytes, on_host=True)

    def _clear(self, blocks: Iterable[Block]) -> None:
        """Zeros, which memory that the host sees starts with."""
        for block in blocks:
            if block.bytes is None:
                self._transfers.write(block, 0, np.zeros(block.nbytes, np.uint8))
