"""CUDA devices as they are before one is opened."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from ...runtime import config
from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ..base import DeviceInfo
from . import api, nvrtc

CAPABILITY_MIN = 7, 0
KERNEL_MODULE = Path("/proc/driver/nvidia/version")  # what Linux says of the driver, which its own API does not
MATRICES_MIN, MATRICES = (7, 5), ((16, 16, 16), (16, 8, 16))  # what shaders/preludes/cuda_matrices.h has


@dataclass(frozen=True)
class Physical:
    """`capability` is major and minor; `is_watched`: a watchdog ends what takes seconds, as where a screen hangs on it;
    `missing` says in a line what keeps it from running."""

    index: int
    name: str
    uuid: str
    memory: int
    kind: str
    capability: tuple[int, int]
    n_processors: int
    is_watched: bool
    features: Features
    driver: str
    missing: str

    @property
    def architecture(self) -> str:
        return "sm_{}{}".format(*self.capability)

    def info(self) -> DeviceInfo:
        features = {"capability": "{}.{}".format(*self.capability), **self.features.offered()}
        return DeviceInfo(
            *("cuda", self.index, self.name, self.driver, self.kind, self.uuid, self.memory, None, features),
            missing=self.missing,
        )


def physicals() -> list[Physical]:
    """In the driver's own order, which CUDA_VISIBLE_DEVICES rules. BackendError without driver, device or NVRTC."""
    version = api.version_text(api.start())
    return list(_described(f"{_kernel_module()}CUDA {version}, NVRTC {nvrtc.version()}"))


def _kernel_module() -> str:
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", KERNEL_MODULE.read_text())
    except OSError:
        return ""
    return f"NVIDIA {found[1]}, " if found else ""


def _described(driver: str) -> Iterator[Physical]:
    for index in range(api.call("cuDeviceGetCount")):
        device = api.call("cuDeviceGet", index)
        capability = _attribute(device, "COMPUTE_CAPABILITY_MAJOR"), _attribute(device, "COMPUTE_CAPABILITY_MINOR")
        yield Physical(
            index,
            api.call("cuDeviceGetName", 256, device).split(b"\0")[0].decode(errors="replace"),
            str(UUID(bytes=bytes(api.call("cuDeviceGetUuid", device).bytes))),
            api.call("cuDeviceTotalMem", device),
            "integrated gpu" if _attribute(device, "INTEGRATED") else "discrete gpu",
            capability,
            _attribute(device, "MULTIPROCESSOR_COUNT"),
            bool(_attribute(device, "KERNEL_EXEC_TIMEOUT")),
            _features(device, capability),
            driver,
            _missing(device, capability),
        )


def _attribute(device: object, name: str) -> int:
    return api.call(
        "cuDeviceGetAttribute", getattr(api.driver().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), device
    )


def _features(device: object, capability: tuple[int, int]) -> Features:
    on = config.read().has
    has_matrices = on("SUBGROUP") and on("COOPMAT") and capability >= MATRICES_MIN
    has_warpgroups = has_matrices and on("WARPGROUPS") and capability == nvrtc.WARPGROUPS
    return Features(
        subgroup_size=32 if on("SUBGROUP") else 0,
        float16=on("FP16"),
        int_dot=on("INT_DOT"),
        cooperative_matrix=MATRICES if has_matrices else (),
        shared_nbytes=_attribute(device, "MAX_SHARED_MEMORY_PER_BLOCK"),
        warpgroup_nbytes=_attribute(device, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN") if has_warpgroups else 0,
        max_workgroup=_attribute(device, "MAX_THREADS_PER_BLOCK"),
        delta_chunks=on("DELTA_CHUNKS"),
        nvrtc=True,
    )


def _missing(device: object, capability: tuple[int, int]) -> str:
    if capability < CAPABILITY_MIN:
        return "compute capability {}.{}, at least {}.{} is needed".format(*capability, *CAPABILITY_MIN)
    if not _attribute(device, "VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED"):
        return "no virtual memory management, which its driver mode or the virtual machine lacks"
    try:
        nvrtc.architecture(capability)
    except BackendError as error:
        return str(error)
    return ""
