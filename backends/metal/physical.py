"""Metal devices as they are before one is opened, and what kernels may use of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...runtime import config
from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ...shaders.metal import FEATURES
from ..base import DeviceInfo
from . import api


@dataclass(frozen=True, eq=False)
class Physical:
    """`handle` is its MTLDevice; `missing` says in a line what keeps it from running. Memory in bytes: what the system
    recommends to use at most, and the most of one buffer. `keeps_commands`: its indirect command buffers need no more
    than is documented."""

    index: int
    handle: Any
    name: str
    uuid: str
    memory: int
    max_buffer: int
    keeps_commands: bool
    features: Features
    driver: str
    missing: str
    kind: str = "integrated gpu"

    def info(self) -> DeviceInfo:
        return DeviceInfo(
            *("metal", self.index, self.name, self.driver, self.kind, self.uuid, self.memory, None),
            self.features.offered(),
            missing=self.missing,
        )


def physicals() -> list[Physical]:
    """In the system's order. BackendError where Metal or pyobjc is missing."""
    driver = f"macOS {api.start().version}"
    return list(_described(driver))


def _described(driver: str) -> Iterator[Physical]:
    metal = api.framework()
    for index, device in enumerate(metal.MTLCopyAllDevices()):
        yield Physical(
            index,
            device,
            str(device.name()),
            f"{device.registryID():016x}",
            device.recommendedMaxWorkingSetSize(),
            device.maxBufferLength(),
            bool(device.supportsFamily_(metal.MTLGPUFamilyApple9)),
            _features(device),
            driver,
            _missing(device),
        )


def _features(device: Any) -> Features:
    """Those that kernels count on, as far as this device has them and nobody switched them off."""
    on = config.read().has
    return replace(
        FEATURES,
        subgroup_size=FEATURES.subgroup_size if on("SUBGROUP") else 0,
        float16=on("FP16"),
        cooperative_matrix=FEATURES.cooperative_matrix if on("SUBGROUP") and on("COOPMAT") else (),
        shared_nbytes=min(device.maxThreadgroupMemoryLength(), FEATURES.shared_nbytes),
        max_workgroup=min(device.maxThreadsPerThreadgroup().width, FEATURES.max_workgroup),
        delta_chunks=on("DELTA_CHUNKS"),
    )


def _missing(device: Any) -> str:
    if not device.supportsFamily_(api.framework().MTLGPUFamilyApple7) or not device.hasUnifiedMemory():
        return "no GPU of Apple's own from the M1 on, as in virtual machines; --backend vulkan may do, over MoltenVK"
    return ""


def physical_of(info: DeviceInfo) -> Physical:
    """The one that info is of. BackendError when it is gone, or cannot run."""
    found = next((p for p in physicals() if (p.index, p.uuid) == (info.index, info.uuid)), None)
    if found is None:
        raise BackendError(f"metal: no device {info.index} {info.name} ({info.uuid}) any more")
    if found.missing:
        raise BackendError(f"metal: {found.name}: {found.missing}")
    return found
