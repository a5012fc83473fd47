"""An open Vulkan device as the rest of vkrun sees it."""

import os
import weakref
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.kernel import Features
from ..base import Device, DeviceInfo, Program
from ..packing import chunks, host_bytes, packed_nbytes, row_nbytes
from .dispatches import problem
from .instance import forget, instance
from .memory import CACHED
from .physical import Limits, Physical
from .program import VulkanProgram
from .resources import Resources
from .transfers import SLOT_NBYTES, Uploads, download, zero

_open: "weakref.WeakSet[VulkanDevice]" = weakref.WeakSet()


class VulkanDevice(Device):
    """`limits` and `features` stand in for the device's own where tests want a poorer one."""

    def __init__(self, physical: Physical, info: DeviceInfo, limits: Limits, features: Features) -> None:
        self.info, self.features, self.limits = info, features, limits
        self.max_binding = limits.max_binding
        self._closed = True
        self._resources = Resources.open(replace(physical, limits=limits), features)
        self._uploads = Uploads(self._resources.logical)
        self._programs: weakref.WeakSet[VulkanProgram] = weakref.WeakSet()
        self._inputs: dict[Storage, np.ndarray] = {}
        self._closed = False
        _open.add(self)

    def nbytes_free(self) -> int | None:
        free = self._living().logical.physical.memory_free()
        return self.info.memory or None if free is None else free

    def supports(self, node: Node) -> str:
        return problem(node, self.features, self.limits)

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        listed = list(storages)
        if bad := next((s for s in listed if s.kind is Kind.TEMP), None):
            raise BackendError(f"{bad.name}: a temporary has no memory of its own; programs bring it")
        resources = self._living()
        with resources.logical.lock:
            resources.close_orphans()
            resources.alloc(listed)
            zero(resources.logical, [resources.places[s] for s in listed if s.kind in (Kind.STATE, Kind.INPUT)])
            for s in (s for s in listed if s.kind is Kind.INPUT):
                self._inputs[s] = resources.places[s].bytes[: s.nbytes].view(s.dtype.numpy)

    def free(self, storages: Iterable[Storage]) -> None:
        gone, resources = set(storages), self._living()
        with resources.logical.lock:
            for program in [p for p in self._programs if p.storages & gone]:
                program.close()
            self._uploads.flush()
            for s in gone:
                self._inputs.pop(s, None)
            resources.free(gone)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        into = self._inputs.get(storage)
        if into is not None and data.dtype == into.dtype and data.size == into.size and not row:
            into[:] = data.reshape(-1)
            return
        place, raw = self._living().place(storage), host_bytes(storage, data, row)
        offset = row * row_nbytes(storage)[1]
        if not place.is_mapped:
            self._uploads.write(place, offset, chunks(storage, raw, SLOT_NBYTES))
            return
        for nbytes, fill in chunks(storage, raw, SLOT_NBYTES):
            fill(place.bytes[offset : offset + nbytes])
            offset += nbytes

    def read(self, storage: Storage) -> np.ndarray:
        if storage.dtype.is_quantised:
            raise BackendError(f"{storage.name}: blocks of {storage.dtype.name} cannot be read back")
        place = self._living().place(storage)
        raw = np.empty(packed_nbytes(storage), np.uint8)
        if place.is_mapped and place.block.flags & CACHED:
            raw[:] = place.bytes
        else:
            download(self._resources.logical, self._resources.pools["readback"], place, raw)
        return raw[: storage.nbytes].view(storage.dtype.numpy).reshape(storage.shape)

    def compile(self, plan: Plan) -> Program:
        with self._living().logical.lock:
            self._resources.close_orphans()
        program = VulkanProgram(self._resources, plan, self.on_compile)
        self._programs.add(program)
        if self._resources.validated:
            self._resources.check_validation()
        return program

    def memory_used(self) -> dict[str, int]:
        """Bytes of device memory by what they hold."""
        return self._living().memory_used()

    def validation_messages(self) -> list[str]:
        """What the validation layer has said since the process began, under VKRUN_VALIDATE=1."""
        return list(instance().messages)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._resources.logical.lock:
            for program in list(self._programs):
                program.close()
            self._resources.close_orphans()
            self._uploads.close()
            self._inputs.clear()
            self._resources.close()
        _open.discard(self)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _living(self) -> Resources:
        if self._closed:
            raise BackendError(f"{self.info.name}: the device is closed")
        return self._resources


def close_all() -> None:
    """At exit: what was left open is closed before the instance goes."""
    for device in list(_open):
        device.close()


def _disown() -> None:
    """In a process that was forked off, where the driver's threads are not: nothing of the parent is touched."""
    for device in list(_open):
        device._closed = True
    _open.clear()
    forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
