"""An open CUDA device."""

import os
import weakref
from collections.abc import Iterable

import numpy as np

from ...runtime import config
from ...runtime.errors import BackendError
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.catalogue import refusal
from ...shaders.kernel import Features
from ..base import Device, DeviceInfo, Program
from ..packing import chunks, host_bytes, packed_nbytes, row_nbytes
from .context import Context
from .kernels import Kernels
from .memory import ArenaMemory, Pool
from .physical import Physical
from .program import CudaProgram, Resources
from .transfers import SLOT_NBYTES, Uploads, download, zero

_open: "weakref.WeakSet[CudaDevice]" = weakref.WeakSet()


class CudaDevice(Device):
    """`features` stand in for the device's own where tests want a poorer one."""

    def __init__(self, physical: Physical, info: DeviceInfo, features: Features) -> None:
        self.info, self.features = info, features
        self._closed = True
        config.note(1, f"open {physical.name} ({physical.driver}), {physical.memory >> 20} MiB, {features}")
        self._resources = _resources(physical, features)
        self._programs: weakref.WeakSet[CudaProgram] = weakref.WeakSet()
        self._closed = False
        _open.add(self)

    def nbytes_free(self) -> int:
        with self._living().context.current():
            return self._resources.context.nbytes_free()

    def supports(self, node: Node) -> str:
        return refusal(node, self.features)

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        listed = list(dict.fromkeys(storages))
        if bad := next((s for s in listed if s.kind is Kind.TEMP), None):
            raise BackendError(f"{bad.name}: a temporary has no memory of its own; programs bring it")
        with self._living().context.current():
            self._resources.close_orphans()
            self._take([s for s in listed if s not in self._resources.places])
            places = [self._resources.place(s) for s in listed if s.kind in (Kind.STATE, Kind.INPUT)]
            zero(self._resources.context, ((p.address, p.nbytes) for p in places))

    def free(self, storages: Iterable[Storage]) -> None:
        gone, resources = set(storages), self._living()
        with resources.context.current():
            for program in [p for p in self._programs if p.storages & gone]:
                program.close()
            resources.context.come_to_rest()
            self._give(gone)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        raw = host_bytes(storage, data, row)
        with self._living().context.current():
            address = self._resources.place(storage).address + row * row_nbytes(storage)[1]
        self._resources.uploads.write(address, chunks(storage, raw, SLOT_NBYTES))

    def read(self, storage: Storage) -> np.ndarray:
        if storage.dtype.is_quantised:
            raise BackendError(f"{storage.name}: blocks of {storage.dtype.name} cannot be read back")
        raw = np.empty(packed_nbytes(storage), np.uint8)
        with self._living().context.current():
            download(self._resources.context, self._resources.place(storage).address, raw)
        return raw[: storage.nbytes].view(storage.dtype.numpy).reshape(storage.shape)

    def compile(self, plan: Plan) -> Program:
        with self._living().context.current():
            self._resources.close_orphans()
        program = CudaProgram(self._resources, plan, self.on_compile)
        self._programs.add(program)
        return program

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
            for program in list(self._programs):
                program.close()
            resources.close_orphans()
            resources.context.come_to_rest()
            resources.uploads.close()
            resources.kernels.close()
            for pool in resources.pools.values():
                pool.close()
            resources.arena.close()
            resources.places.clear()
            resources.context.close()
        _open.discard(self)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _take(self, storages: list[Storage]) -> None:
        """All or none."""
        resources, made = self._resources, {}
        try:
            for kind in Kind:
                group = [s for s in storages if s.kind is kind]
                places = resources.pools[kind].take((s.name, packed_nbytes(s)) for s in group)
                made.update(zip(group, places, strict=True))
        except BackendError:
            resources.places.update(made)
            self._give(made)
            raise
        resources.places.update(made)
        nbytes = sum(map(packed_nbytes, storages))
        config.note(1, f"{len(storages)} storages of {nbytes} bytes, device holds {self.memory_used()}")

    def _give(self, storages: Iterable[Storage]) -> None:
        for s in storages:
            if place := self._resources.places.pop(s, None):
                self._resources.pools[s.kind].give([place])

    def _living(self) -> Resources:
        if self._closed:
            raise BackendError(f"{self.info.name}: the device is closed")
        return self._resources


def _resources(physical: Physical, features: Features) -> Resources:
    context, apart = Context(physical), config.read().validate
    try:
        with context.current():
            pools = {kind: Pool(context, apart) for kind in Kind}
            return Resources(context, features, pools, apart, Kernels(context), ArenaMemory(context), Uploads(context))
    except BaseException:
        context.close()
        raise


def close_all() -> None:
    """At exit: what was left open is closed while the driver is there."""
    for device in list(_open):
        device.close()


def _disown() -> None:
    """In a process that was forked off, where the context is not: nothing of the parent is touched."""
    for device in list(_open):
        device._closed = True
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
