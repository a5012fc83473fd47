"""The one door to Apple's Metal: pyobjc's bridge, what a machine needs for it, and errors as BackendError.

pyobjc gives each method under the name of its selector with `_` for `:`, and an error by reference as the last of what
a call returns.
"""

import functools
import platform
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ...runtime.errors import BackendError
from ...runtime.extras import brought_by

INSTALL = brought_by("metal")
MACOS_MIN = 13  # the first with Metal 3

# MTLCommandBufferError
_MEANINGS = {
    1: "internal error of the driver",
    2: "the GPU took too long and was stopped; set VKRUN_SUBMIT_GFLOP lower",
    3: "a kernel touched memory that is not its own",
    4: "the system takes no more work of this process, after errors",
    7: "the process may not use the GPU now, as in the background",
    8: "out of memory",
    9: "a resource was gone while the GPU worked with it",
    11: "the device was removed",
    12: "a kernel's stack overflowed",
}


class MetalError(BackendError):
    """Work that the GPU did not finish, or what the framework refused. `code` is of its NSError, 0 without one."""

    def __init__(self, device: str, doing: str, error: Any) -> None:
        self.code = int(error.code()) if error is not None else 0
        text = str(error.localizedDescription()).partition("\n")[0] if error is not None else "refused without a word"
        super().__init__(f"{device}: {doing}: {text}{f' (Metal error {self.code})' if self.code else ''}")


class CommandError(MetalError):
    """A command buffer that ended with an error."""

    def __init__(self, device: str, error: Any) -> None:
        super().__init__(device, "a command buffer failed", error)
        if meaning := _MEANINGS.get(self.code):
            self.args = (f"{device}: {meaning} (Metal error {self.code})",)


@dataclass(frozen=True)
class System:
    """What Python says of the machine: sys.platform, the processor's name, macOS's version or ""."""

    name: str
    processor: str
    version: str


def system() -> System:
    return System(sys.platform, platform.machine(), platform.mac_ver()[0])


@functools.cache
def framework() -> ModuleType:
    """pyobjc's Metal. BackendError where the package is missing."""
    return _module("Metal")


@functools.cache
def bridge() -> ModuleType:
    """pyobjc itself."""
    return _module("objc")


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendError(f"metal: the package pyobjc-framework-Metal is missing ({error}); {INSTALL}") from error


def pool() -> AbstractContextManager:
    """What Metal hands out inside is given back at its end: command buffers and encoders, which nobody else drains."""
    return bridge().autorelease_pool()


def start() -> System:
    """The machine, where Metal can be used on it. BackendError says what is missing or too old."""
    found = system()
    if found.name != "darwin":
        raise BackendError("metal: there is no Metal but on macOS")
    if found.processor != "arm64":
        raise BackendError(
            f"metal: Apple's own processors are needed, this is {found.processor}: an Intel Mac, or a Python for one"
        )
    if int(found.version.partition(".")[0] or 0) < MACOS_MIN:
        raise BackendError(f"metal: macOS {found.version} is too old, {MACOS_MIN} is needed")
    for module in (framework, bridge):
        module()
    return found
