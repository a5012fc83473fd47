"""The vulkan backend, the default: any device with Vulkan 1.1, through the `vulkan` package."""

from collections.abc import Mapping
from dataclasses import replace

from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ..base import Backend, DeviceInfo
from .device import VulkanDevice
from .physical import physicals

_INSTALL = (
    "Debian, Ubuntu: apt install libvulkan1 mesa-vulkan-drivers (AMD, Intel, Apple, software); "
    "NVIDIA's driver package brings its own"
)


class VulkanBackend(Backend):
    name = "vulkan"

    def devices(self) -> list[DeviceInfo]:
        try:
            return [p.info(i) for i, p in enumerate(physicals())]
        except BackendError:
            return []

    def why_missing(self) -> str:
        try:
            return "" if physicals() else f"vulkan: no device with Vulkan 1.1; {_INSTALL}"
        except BackendError as error:
            return f"vulkan: {str(error).removeprefix('vulkan: ')}; {_INSTALL}"

    def open(
        self, info: DeviceInfo, limits: Mapping[str, int] | None = None, features: Features | None = None
    ) -> VulkanDevice:
        """`limits` overrides fields of physical.Limits, `features` what kernels may use: for tests on poor devices."""
        physical = next((p for i, p in enumerate(physicals()) if (i, p.uuid) == (info.index, info.uuid)), None)
        if physical is None:
            raise BackendError(f"vulkan: no device {info.index} {info.name} ({info.uuid}) any more")
        return VulkanDevice(physical, info, replace(physical.limits, **(limits or {})), features or physical.features)


BACKEND = VulkanBackend()
