"""An open Kompute device."""

from collections.abc import Iterable
from weakref import WeakSet

import numpy as np

from ...runtime import config
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Storage
from ...shaders import catalogue
from ...shaders.kernel import Features
from ..base import Device, DeviceInfo, Program
from ..packing import array_of, read_range
from .api import BLOCK_NBYTES, Api
from .program import KomputeProgram
from .store import Store


class KomputeDevice(Device):
    """kp enables no features, so that the plainest kernels run. `on_host` says where memory stands (see Store); None
    decides by the device."""

    def __init__(self, info: DeviceInfo, on_host: bool | None = None) -> None:
        self.info = info
        self._features = Features(software=info.is_software)
        self._programs: WeakSet[KomputeProgram] = WeakSet()
        config.note(1, f"open {info.name} ({info.driver}), {self._features}")
        self._api = Api(info.index)
        self.max_binding = BLOCK_NBYTES
        self._store = Store(self._api, self._features, info.is_software if on_host is None else on_host)

    def supports(self, node: Node) -> str:
        if node.branch is not None:
            return f"[{node.op}] runs in some steps only, and kp has no indirect dispatch"
        return catalogue.refusal(node, self._features)

    def alloc(self, storages: Iterable[Storage]) -> None:
        with self._store.lock:
            self._store.alloc(storages)

    def free(self, storages: Iterable[Storage]) -> None:
        with self._store.lock:
            self._store.free(storages)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        with self._store.lock:
            self._store.write(storage, data, row)

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        start, nbytes = read_range(storage, row, n_rows)
        with self._store.lock:
            return array_of(storage, self._store.bytes_of(storage, start, nbytes), n_rows)

    def compile(self, plan: Plan) -> Program:
        self.require(plan)
        with self._store.lock:
            program = KomputeProgram(self._api, self._store, self._features, plan, self.on_compile)
            self._programs.add(program)
        return program

    def close(self) -> None:
        with self._store.lock:
            if self._api.closed:
                return
            for program in list(self._programs):
                program.close()
            self._store.close()
            self._api.close()
