"""The kompute backend: the same shaders and plans through Kompute's Python package `kp`, which knows plain Vulkan 1.1.

The independent second host: a fault that shows here and on the vulkan backend is the shader's. kp is loaded on first
use.
"""

from importlib.metadata import version
from typing import Any

from ...runtime.errors import BackendError
from ..base import Backend, Device, DeviceInfo
from . import api
from .device import KomputeDevice

SOFTWARE = ("llvmpipe", "lavapipe", "swiftshader")  # kp tells of a device's name, and nothing of its kind
HOW_TO_GET = "in a checkout ./tools/vkrun builds it, or tools/setup/build_kp.sh PYTHON alone"


class KomputeBackend(Backend):
    name = "kompute"

    def devices(self) -> list[DeviceInfo]:
        """Hardware first; indices are Vulkan's own."""
        try:
            found = api.list_devices()
        except (ImportError, BackendError):
            return []
        return sorted((_info(i, properties) for i, properties in enumerate(found)), key=lambda info: info.is_software)

    def why_missing(self) -> str:
        try:
            api.list_devices()
        except ModuleNotFoundError:
            return f"kp, Kompute's Python package, is not installed: {HOW_TO_GET}"
        except ImportError as error:
            return f"kp, Kompute's Python package, cannot be loaded ({error}): {HOW_TO_GET}"
        except BackendError as error:
            return f"no Vulkan device ({error}): install its driver, or Mesa's llvmpipe (mesa-vulkan-drivers)"
        return ""

    def open(self, info: DeviceInfo) -> Device:
        return KomputeDevice(info)


def _info(index: int, properties: dict[str, Any]) -> DeviceInfo:
    name = str(properties["device_name"])
    kind = "cpu" if any(s in name.lower() for s in SOFTWARE) else "gpu"
    features = {"vulkan": "1.1", "max_workgroup": properties["max_work_group_invocations"]}
    return DeviceInfo("kompute", index, name, f"kp {version('kp')}", kind, features=features)


BACKEND = KomputeBackend()
