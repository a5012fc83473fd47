"""An open Vulkan device as the rest of vkrun sees it."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage
from ...runtime.tuning import Tuning
from ...shaders.kernel import Features
from ..base import DeviceInfo, Program, Rules
from ..opened import ClosableDevice, Opened
from ..packing import array_of, chunks, host_bytes, read_range, row_nbytes
from ..tuned import TunedDevice
from .dispatches import dispatches_of, lower, problem
from .instance import forget, instance
from .memory import CACHED
from .physical import Limits, Physical
from .pipelines import PipelineKey
from .program import VulkanProgram
from .resources import Resources
from .transfers import SLOT_NBYTES, Uploads, download, zero

OPENED = Opened(forget)


class VulkanDevice(ClosableDevice, TunedDevice):
    """`limits` and `features` stand in for the device's own where tests want a poorer one."""

    def __init__(self, physical: Physical, info: DeviceInfo, limits: Limits, features: Features) -> None:
        self.info, self.features, self.limits = info, features, limits
        self.max_binding = limits.max_binding
        self._resources = Resources.open(replace(physical, limits=limits), features)
        self._uploads = Uploads(self._resources.logical)
        self._inputs: dict[Storage, np.ndarray] = {}
        self._closed = False
        OPENED.add(self)

    def nbytes_free(self) -> int | None:
        free = self._living().logical.physical.memory_free()
        return self.info.memory or None if free is None else free

    def supports(self, node: Node) -> str:
        return problem(node, self.features, self.limits)

    def rules(self) -> Rules | None:
        facts = {"features": self.features, "limits": self.limits}
        return Rules(partial(problem, **facts), partial(lower, **facts))

    def tune(self, tuning: Tuning) -> None:
        super().tune(tuning)
        self._living().features = self.features

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Storages that have memory keep it; states and inputs become zeros either way."""
        listed = list(storages)
        resources = self._living()
        with resources.logical.lock:
            resources.programs.close_orphans()
            resources.alloc(listed)
            zero(
                resources.logical, [resources.residents.place(s) for s in listed if s.kind in (Kind.STATE, Kind.INPUT)]
            )
            for s in (s for s in listed if s.kind is Kind.INPUT):
                self._inputs[s] = resources.residents.place(s).bytes[: s.nbytes].view(s.dtype.numpy)

    def free(self, storages: Iterable[Storage]) -> None:
        gone, resources = set(storages), self._living()
        with resources.logical.lock:
            resources.programs.close_over(gone)
            self._uploads.flush()
            for s in gone:
                self._inputs.pop(s, None)
            resources.residents.free(gone)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        into = self._inputs.get(storage)
        if into is not None and data.dtype == into.dtype and data.size == into.size and not row:
            into[:] = data.reshape(-1)
            return
        place, raw = self._living().residents.place(storage), host_bytes(storage, data, row)
        offset = row * row_nbytes(storage)[1]
        if not place.is_mapped:
            self._uploads.write(place, offset, chunks(storage, raw, SLOT_NBYTES))
            return
        for nbytes, fill in chunks(storage, raw, SLOT_NBYTES):
            fill(place.bytes[offset : offset + nbytes])
            offset += nbytes

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        start, nbytes = read_range(storage, row, n_rows)
        place = self._living().residents.place(storage)
        raw = np.empty(nbytes, np.uint8)
        if place.is_mapped and place.block.flags & CACHED:
            raw[:] = place.bytes[start : start + nbytes]
        else:
            download(self._resources.logical, self._resources.pools["readback"], place, start, raw)
        return array_of(storage, raw, n_rows)

    def compile(self, plan: Plan) -> Program:
        with self._living().logical.lock:
            self._resources.programs.close_orphans()
        program = VulkanProgram(self._resources, plan, self.on_compile)
        self._resources.programs.add(program)
        if self._resources.validated:
            self._resources.check_validation()
        return program

    def make_kernels(self, plan: Plan) -> None:
        dispatches = dispatches_of(plan, self.features, self.limits)
        self._living().pipelines.ahead(PipelineKey.of(s.call) for s in dispatches)

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
            self._resources.programs.close()
            self._uploads.close()
            self._inputs.clear()
            self._resources.close()
        OPENED.discard(self)

    def _living(self) -> Resources:
        self._require_open()
        return self._resources
