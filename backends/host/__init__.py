"""The host backend: the shaders as C++ on the CPU, each access checked. For testing kernels where there is no GPU: it
is never chosen unless named. Eight devices, each forwards and backwards: subgroups of 32 or 8 lanes or none, and the
shaders as Metal has them, where there is a clang.
"""

from dataclasses import replace

from ...runtime.errors import BackendError
from ...shaders import metal
from ...shaders.kernel import Features
from ..base import Backend, DeviceInfo
from . import kernels, msl
from .device import HostDevice
from .program import Way

ROOM = Features(shared_nbytes=49152, max_workgroup=1024)
MATRICES = (16, 16, 16), (16, 8, 16)
ALL = {"delta_chunks": True, "float16": True, "int_dot": True, "nvrtc": True, "cooperative_matrix": MATRICES}
GRANTED_NBYTES = 232448  # as on an H100
LANES = (
    ("subgroups of 32", replace(ROOM, subgroup_size=32, warpgroup_nbytes=GRANTED_NBYTES, **ALL)),
    ("subgroups of 8", replace(ROOM, subgroup_size=8, software=True)),
    ("no subgroups", Features()),
)
METAL = ("Metal's language", metal.FEATURES)


class HostBackend(Backend):
    name = "host"

    def devices(self) -> list[DeviceInfo]:
        if self.why_missing():
            return []
        lanes = LANES if msl.why_missing() else (*LANES, METAL)
        ways = [f"{name}{order}" for name, _ in lanes for order in ("", ", backwards")]
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
        kind, backwards = info.index // 2, info.index % 2 == 1
        own = (*LANES, METAL)[kind][1]
        made_by = msl.kernel if kind == len(LANES) else kernels.kernel
        return HostDevice(info, Way(features or own, backwards, made_by))


BACKEND = HostBackend()
