"""The metal backend: Apple's own API, through pyobjc. The same plans, and the same shaders as MSL, on the GPUs of
Apple's processors."""

from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ..base import Backend, DeviceInfo
from .device import MetalDevice
from .physical import physical_of, physicals


class MetalBackend(Backend):
    name = "metal"

    def devices(self) -> list[DeviceInfo]:
        try:
            return [p.info() for p in physicals()]
        except BackendError:
            return []

    def why_missing(self) -> str:
        try:
            return "" if physicals() else "metal: no GPU"
        except BackendError as error:
            return str(error)

    def open(self, info: DeviceInfo, features: Features | None = None) -> MetalDevice:
        """`features`: what kernels may use, instead of the device's own."""
        physical = physical_of(info)
        return MetalDevice(physical, info, features or physical.features)


BACKEND = MetalBackend()
