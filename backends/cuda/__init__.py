"""The cuda backend: NVIDIA's own API. The same plans, and the same shaders as CUDA C++, which NVRTC compiles."""

from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ..base import Backend, DeviceInfo
from .device import CudaDevice
from .physical import physicals


class CudaBackend(Backend):
    name = "cuda"

    def devices(self) -> list[DeviceInfo]:
        try:
            return [p.info() for p in physicals()]
        except BackendError:
            return []

    def why_missing(self) -> str:
        try:
            return "" if physicals() else "cuda: no NVIDIA device"
        except BackendError as error:
            return str(error)

    def open(self, info: DeviceInfo, features: Features | None = None) -> CudaDevice:
        """`features`: what kernels may use, instead of the device's own."""
        physical = next((p for p in physicals() if (p.index, p.uuid) == (info.index, info.uuid)), None)
        if physical is None:
            raise BackendError(f"cuda: no device {info.index} {info.name} ({info.uuid}) any more")
        if physical.missing:
            raise BackendError(f"cuda: {physical.name}: {physical.missing}")
        return CudaDevice(physical, info, features or physical.features)


BACKEND = CudaBackend()
