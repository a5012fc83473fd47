"""The one door to NVIDIA's driver and to NVRTC: cuda-bindings' functions, their errors as BackendError.

cuda-bindings rather than cuda-core: graphs here are built node by node with edges of our choice, which is the driver's
own interface, and cuda-core would stand between as a second one.
"""

import functools
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from ...runtime.errors import BackendError
from ...runtime.extras import brought_by

INSTALL = brought_by("cuda")
DRIVER_MIN = 12040  # as cuDriverGetVersion counts: CUDA 12.4, whose graphs have programmatic edges in all drivers

OUT_OF_MEMORY, NO_DEVICE = 2, 100  # CUresult
_MEANINGS = {
    46: "another process has the device for itself (compute mode EXCLUSIVE_PROCESS), or it is in prohibited mode",
    OUT_OF_MEMORY: "out of memory",
    NO_DEVICE: "no NVIDIA device",
    209: "the compiled kernel does not fit this device",
    222: "NVRTC is newer than the driver",
    700: "a kernel touched memory that is not its own; the device is lost to this process",
    719: "a kernel failed; the device is lost to this process",
    802: "the system is not ready (is nvidia-fabricmanager running?)",
    803: "the driver's library and its kernel module differ in version; restart the machine",
}


class CudaError(BackendError):
    """A call that the driver refused. `status` is its CUresult."""

    def __init__(self, name: str, status: int, text: str) -> None:
        super().__init__(f"cuda: {name}: {_MEANINGS.get(status, text)} (CUDA error {status})")
        self.status = status


@functools.cache
def driver() -> ModuleType:
    """cuda.bindings.driver. BackendError where the package is missing."""
    return _module("cuda.bindings.driver")


@functools.cache
def nvrtc() -> ModuleType:
    return _module("cuda.bindings.nvrtc")


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendError(f"cuda: the package cuda-bindings is missing ({error}); {INSTALL}") from error


def call(name: str, *arguments: Any) -> Any:
    """What a function of the driver gives: nothing, one value, or a tuple. CudaError when it refuses."""
    try:
        status, *given = getattr(driver(), name)(*arguments)
    except RuntimeError as error:
        raise _absent(error, name, "no NVIDIA driver; install it, or check that libcuda.so.1 is found") from error
    if int(status):
        raise CudaError(name, int(status), _error_text(status))
    return given[0] if len(given) == 1 else tuple(given)


def release(name: str, *arguments: Any) -> None:
    """Give something back. Of a device that is lost nothing can be, and the driver says so at each call."""
    with suppress(CudaError):
        call(name, *arguments)


def compiler(name: str, *arguments: Any) -> Any:
    """The same for a function of NVRTC."""
    try:
        status, *given = getattr(nvrtc(), name)(*arguments)
    except RuntimeError as error:
        raise _absent(error, name, f"NVRTC is missing; {INSTALL}") from error
    if int(status):
        raise BackendError(f"cuda: {name}: {nvrtc().nvrtcGetErrorString(status)[1].decode()}")
    return given[0] if len(given) == 1 else tuple(given)


def _absent(error: RuntimeError, name: str, library: str) -> BackendError:
    """What cuda-bindings raises where a library is not there, or lacks a function."""
    if type(error).__name__ == "DynamicLibNotFoundError":
        return BackendError(f"cuda: {library}")
    return BackendError(f"cuda: {name}: {next(iter(str(error).splitlines()), type(error).__name__)}")


def _error_text(status: Any) -> str:
    failed, text = driver().cuGetErrorString(status)
    return "unknown" if int(failed) or not text else text.decode()


def version_text(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


@functools.cache
def start() -> int:
    """The driver's version, once it is ready. BackendError says what is missing or too old."""
    nvrtc_major, nvrtc_minor = compiler("nvrtcVersion")
    call("cuInit", 0)
    version = call("cuDriverGetVersion")
    if version < DRIVER_MIN:
        known, needed = version_text(version), version_text(DRIVER_MIN)
        raise BackendError(f"cuda: the driver is too old: it knows CUDA {known}, {needed} is needed")
    if nvrtc_major > version // 1000:
        raise BackendError(
            f"cuda: NVRTC {nvrtc_major}.{nvrtc_minor} is newer than the driver, which knows CUDA "
            f"{version_text(version)}; a newer driver, or pip install 'cuda-bindings<13' nvidia-cuda-nvrtc-cu12"
        )
    return version


def add_edge(graph: Any, before: Any, after: Any, port: int, kind: int) -> None:
    """Between two kernels of a graph. port: what has to be of `before`."""
    edge = driver().CUgraphEdgeData()
    edge.from_port, edge.type = port, kind
    name = "cuGraphAddDependencies"  # which took no kinds of edges before CUDA 13
    call(f"{name}_v2" if hasattr(driver(), f"{name}_v2") else name, graph, [before], [after], [edge], 1)
