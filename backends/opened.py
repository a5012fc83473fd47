"""Open devices of an API that must be closed before the process ends, and that no forked process may touch."""

import atexit
import os
import weakref
from collections.abc import Callable

from ..runtime.errors import BackendError
from .base import Device


class ClosableDevice(Device):
    """`_closed` is False from the end of its making on."""

    _closed = True

    def __del__(self) -> None:
        if not self._closed:
            self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise BackendError(f"{self.info.name}: the device is closed")


class Opened:
    def __init__(self, forget: Callable[[], None] = lambda: None) -> None:
        """`forget` is called in a process that was forked off, where the driver's threads are not."""
        self._devices: weakref.WeakSet[ClosableDevice] = weakref.WeakSet()
        self._forget = forget
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._disown)

    def add(self, device: ClosableDevice) -> None:
        self._devices.add(device)
        atexit.unregister(self.close_all)
        atexit.register(self.close_all)  # last, and so before what its driver registered

    def discard(self, device: ClosableDevice) -> None:
        self._devices.discard(device)

    def close_all(self) -> None:
        """At exit: what was left open is closed while the driver is there."""
        for device in list(self._devices):
            device.close()

    def _disown(self) -> None:
        """Nothing of the parent is touched."""
        for device in list(self._devices):
            device._closed = True
        self._devices.clear()
        self._forget()
