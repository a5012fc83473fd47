"""An open Metal device."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from ...runtime import config
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...runtime.tuning import Tuning
from ...shaders.catalogue import refusal
from ...shaders.kernel import Features
from ..base import DeviceInfo, Program
from ..opened import ClosableDevice, Opened
from ..packing import array_of, chunks, host_bytes, read_range, row_nbytes
from ..residents import Residents
from ..tuned import TunedDevice
from .context import Context
from .kernels import Kernels
from .memory import ArenaMemory, Place, Pool
from .physical import Physical
from .program import MetalProgram, Resources

PACKED_NBYTES = 16 << 20  # that are packed at a time, each chunk straight into the memory that the GPU reads
OPENED = Opened()


class MetalDevice(ClosableDevice, TunedDevice):
    """`features` stand in for the device's own where tests want a poorer one. Memory is shared with the GPU, so reads
    and writes wait until the GPU rests and touch it themselves."""

    def __init__(self, physical: Physical, info: DeviceInfo, features: Features) -> None:
        self.info, self.features = info, features
        config.note(1, f"open {physical.name} ({physical.driver}), {physical.memory >> 20} MiB, {features}")
        self._resources = _resources(physical, features)
        self._closed = False
        OPENED.add(self)

    def nbytes_free(self) -> int:
        return self._living().context.nbytes_free()

    def supports(self, node: Node) -> str:
        return refusal(node, self.features)

    def tune(self, tuning: Tuning) -> None:
        super().tune(tuning)
        self._living().features = self.features

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        listed, resources = list(dict.fromkeys(storages)), self._living()
        with resources.context.lock:
            resources.programs.close_orphans()
            resources.context.settle()
            resources.residents.alloc(listed)
            for s in listed:
                if s.kind in (Kind.STATE, Kind.INPUT):
                    resources.residents.place(s).bytes[:] = 0

    def free(self, storages: Iterable[Storage]) -> None:
        gone, resources = set(storages), self._living()
        with resources.context.lock:
            resources.programs.close_over(gone)
            resources.context.come_to_rest()
            resources.residents.free(gone)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        """Weights are written side by side, since no work is under way over what is not yet written."""
        raw = host_bytes(storage, data, row)
        with self._at_rest(storage) as place:
            if storage.kind is not Kind.WEIGHT:
                return _fill(place, storage, raw, row)
        return _fill(place, storage, raw, row)

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        start, nbytes = read_range(storage, row, n_rows)
        with self._at_rest(storage) as place:
            return array_of(storage, place.bytes[start : start + nbytes].copy(), n_rows)

    def compile(self, plan: Plan) -> Program:
        resources = self._living()
        with resources.context.lock:
            resources.programs.close_orphans()
        program = MetalProgram(resources, plan, self.on_compile)
        resources.programs.add(program)
        return program

    def memory_used(self) -> dict[str, int]:
        """Bytes of shared memory by what they hold."""
        resources = self._living()
        pools = {kind.value: pool.nbytes for kind, pool in resources.pools.items()}
        return {**pools, "programs": resources.own.nbytes, "arena": resources.arena.nbytes}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        resources = self._resources
        with resources.context.lock:
            resources.programs.close()
            resources.context.come_to_rest()
            resources.kernels.close()
            for pool in (*resources.pools.values(), resources.own, resources.arena):
                pool.close()
            resources.residents.clear()
        OPENED.discard(self)

    @contextmanager
    def _at_rest(self, storage: Storage) -> Iterator[Place]:
        """Where it stands, while nothing of the GPU's work is under way."""
        resources = self._living()
        with resources.context.lock:
            place = resources.residents.place(storage)
            resources.context.settle()
            yield place

    def _living(self) -> Resources:
        self._require_open()
        return self._resources


def _fill(place: Place, storage: Storage, raw: np.ndarray, row: int) -> None:
    at = row * row_nbytes(storage)[1]
    for nbytes, fill in chunks(storage, raw, max(PACKED_NBYTES, row_nbytes(storage)[1])):
        fill(place.bytes[at : at + nbytes])
        at += nbytes


def _resources(physical: Physical, features: Features) -> Resources:
    context, apart = Context(physical), config.read().validate
    pools = {kind: Pool(context, apart) for kind in Kind if kind is not Kind.TEMP}
    kernels, arena, own = Kernels(context), ArenaMemory(context), Pool(context, apart)
    return Resources(context, features, pools, apart, kernels, arena, own, Residents(pools))
