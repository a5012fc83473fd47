"""An open CUDA device."""

from collections.abc import Iterable

import numpy as np

from ...runtime import config
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...runtime.tuning import Tuning
from ...shaders.catalogue import refusal
from ...shaders.kernel import Features
from ..base import DeviceInfo, Program
from ..lowered import dispatches_of
from ..opened import ClosableDevice, Opened
from ..packing import array_of, chunks, host_bytes, read_range, row_nbytes
from ..residents import Residents
from ..tuned import TunedDevice
from .context import Context
from .kernels import KernelKey, Kernels
from .memory import ArenaMemory, Pool
from .physical import Physical
from .program import CudaProgram, Resources
from .transfers import SLOT_NBYTES, Uploads, download, zero

OPENED = Opened()


class CudaDevice(ClosableDevice, TunedDevice):
    """`features` stand in for the device's own where tests want a poorer one."""

    compiles_beside = True

    def __init__(self, physical: Physical, info: DeviceInfo, features: Features) -> None:
        self.info, self.features = info, features
        config.note(1, f"open {physical.name} ({physical.driver}), {physical.memory >> 20} MiB, {features}")
        self._resources = _resources(physical, features)
        self._closed = False
        OPENED.add(self)

    def nbytes_free(self) -> int:
        with self._living().context.current():
            return self._resources.context.nbytes_free()

    def supports(self, node: Node) -> str:
        return refusal(node, self.features)

    def tune(self, tuning: Tuning) -> None:
        super().tune(tuning)
        self._living().features = self.features

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        listed = list(dict.fromkeys(storages))
        with self._living().context.current():
            self._resources.programs.close_orphans()
            self._resources.residents.alloc(listed)
            places = [self._resources.residents.place(s) for s in listed if s.kind in (Kind.STATE, Kind.INPUT)]
            zero(self._resources.context, ((p.address, p.nbytes) for p in places))

    def free(self, storages: Iterable[Storage]) -> None:
        gone, resources = set(storages), self._living()
        with resources.context.current():
            resources.programs.close_over(gone)
            resources.context.come_to_rest()
            resources.residents.free(gone)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        raw = host_bytes(storage, data, row)
        with self._living().context.current():
            address = self._resources.residents.place(storage).address + row * row_nbytes(storage)[1]
        self._resources.uploads.write(address, chunks(storage, raw, SLOT_NBYTES))

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        start, nbytes = read_range(storage, row, n_rows)
        raw = np.empty(nbytes, np.uint8)
        with self._living().context.current():
            download(self._resources.context, self._resources.residents.place(storage).address + start, raw)
        return array_of(storage, raw, n_rows)

    def compile(self, plan: Plan) -> Program:
        with self._living().context.current():
            self._resources.programs.close_orphans()
        program = CudaProgram(self._resources, plan, self.on_compile)
        self._resources.programs.add(program)
        return program

    def make_kernels(self, plan: Plan) -> None:
        self._living().kernels.ahead(map(KernelKey.of, dispatches_of(plan, self.features)))

    def memory_used(self) -> dict[str, int]:
        """Bytes of device memory by what they hold."""
        resources = self._living()
        return {**{kind.value: pool.nbytes for kind, pool in resources.pools.items()}, "arena": resources.arena.nbytes}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        resources = self._resources
        with resources.context.current():
            resources.programs.close()
            resources.context.come_to_rest()
            resources.uploads.close()
            resources.kernels.close()
            for pool in resources.pools.values():
                pool.close()
            resources.arena.close()
            resources.residents.clear()
            resources.context.close()
        OPENED.discard(self)

    def _living(self) -> Resources:
        self._require_open()
        return self._resources


def _resources(physical: Physical, features: Features) -> Resources:
    context, apart = Context(physical), config.read().validate
    try:
        with context.current():
            pools = {kind: Pool(context, apart) for kind in Kind}
            kernels, arena, uploads = Kernels(context), ArenaMemory(context), Uploads(context)
            return Resources(context, features, pools, apart, kernels, arena, uploads, Residents(pools))
    except BaseException:
        context.close()
        raise
