"""An open device of the host backend."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...runtime.tuning import Tuning
from ...shaders import catalogue
from ..base import DeviceInfo, Program
from ..host_memory import host_nbytes_free
from ..packing import array_of, device_bytes, host_bytes, packed_nbytes, read_range, row_nbytes
from ..residents import homeless
from ..room import require_room
from ..tuned import TunedDevice
from .program import LOCK, UNWRITTEN, HostProgram, Memory, Way


class HostDevice(TunedDevice):
    """Storages are arrays of bytes, each of its own, so that no kernel reaches a neighbour unnoticed."""

    def __init__(self, info: DeviceInfo, way: Way) -> None:
        self.info, self.features, self._way = info, way.features, way
        self._memory: Memory = {}

    def nbytes_free(self) -> int:
        return host_nbytes_free()

    def supports(self, node: Node) -> str:
        return catalogue.refusal(node, self.features)

    def tune(self, tuning: Tuning) -> None:
        super().tune(tuning)
        self._way = replace(self._way, features=self.features)

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        wanted = list(dict.fromkeys(storages))
        new = [s for s in wanted if s not in self._memory]
        require_room("host", ((s.name, packed_nbytes(s)) for s in new), host_nbytes_free())
        with LOCK:
            for s in wanted:
                self._memory.setdefault(s, np.full(packed_nbytes(s), UNWRITTEN, np.uint8))
                if s.kind in (Kind.STATE, Kind.INPUT):
                    self._memory[s][:] = 0

    def free(self, storages: Iterable[Storage]) -> None:
        with LOCK:
            for s in storages:
                self._memory.pop(s, None)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        raw = device_bytes(storage, host_bytes(storage, data, row))
        at = row * row_nbytes(storage)[1]
        with LOCK:
            self._held(storage)[at : at + raw.size] = raw

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        start, nbytes = read_range(storage, row, n_rows)
        with LOCK:
            return array_of(storage, self._held(storage)[start : start + nbytes].copy(), n_rows)

    def compile(self, plan: Plan) -> Program:
        self.require(plan)
        return HostProgram(plan, self._memory, self._way, self.on_compile)

    def close(self) -> None:
        self._memory.clear()

    def _held(self, storage: Storage) -> np.ndarray:
        if storage not in self._memory:
            raise homeless(storage)
        return self._memory[storage]
