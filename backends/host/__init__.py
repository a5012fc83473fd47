"""The host backend: the shaders as C++ on the CPU, each access checked. For testing kernels where there is no GPU: it
is never chosen unless named. Six devices: subgroups of 32 or 8 lanes or none, each run forwards and backwards.
"""

from dataclasses import replace

from ...runtime.errors import BackendError
from ...shaders.kernel import Features
from ..base import Backend, DeviceInfo
from . import kernels
from .device import HostDevice

ROOM = Features(shared_nbytes=49152, max_workgroup=1024)
ALL = {"delta_chunks": True, "float16": True, "int_dot": True, "cooperative_matrix": ((16, 16, 16),)}
LANES = (
    ("subgroups of 32", replace(ROOM, subgroup_size=32, **ALL)),
    ("subgroups of 8", replace(ROOM, subgroup_size=8, software=True)),
    ("no subgroups", Features()),
)


class HostBackend(Backend):
    name = "host"

    def devices(self) -> list[DeviceInfo]:
        if self.why_missing():
            return []
        ways = [f"{name}{order}" for name, _ in LANES for order in ("", ", backwards")]
        driver = kernels.compiler().version
        return [DeviceInfo("host", i, f"host C++, {way}", driver) for i, way in enumerate(ways)]

    def why_missing(self) -> str:
        try:
            kernels.compiler()
        except BackendError as error:
            return str(error)
        return ""

    def open(self, info: DeviceInfo, features: Features | None = None) -> HostDevice:
        """`features`: what kernels may use, instead of the device's own."""
        return HostDevice(info, features or LANES[info.index // 2][1], backwards=info.index % 2 == 1)


BACKEND = HostBackend()
