"""The device's context, made current on whatever thread calls, and its one stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from ...runtime.errors import BackendError
from . import api
from .physical import Physical

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class Context:
    """The primary context, which other CUDA libraries of the process share. All work goes through `stream`."""

    def __init__(self, physical: Physical) -> None:
        self.physical, self._lock = physical, RLock()
        api.start()
        self.device = api.call("cuDeviceGet", physical.index)
        self.handle: Any = _retained(physical, self.device)
        try:
            with self.current():
                self.stream: Any = api.call("cuStreamCreate", NON_BLOCKING)
        except BaseException:
            api.release("cuDevicePrimaryCtxRelease", self.device)
            raise

    @contextmanager
    def current(self) -> Iterator[None]:
        """One thread at a time."""
        with self._lock:
            self.enter()
            yield

    def enter(self) -> None:
        """Current on this thread, which shares nothing with others meanwhile."""
        api.call("cuCtxSetCurrent", self.handle)

    def settle(self) -> None:
        """Wait until all that was begun has ended."""
        api.call("cuStreamSynchronize", self.stream)

    def come_to_rest(self) -> None:
        """The same before something is closed, whatever became of the device."""
        api.release("cuStreamSynchronize", self.stream)

    def nbytes_free(self) -> int:
        return api.call("cuMemGetInfo")[0]

    def close(self) -> None:
        api.release("cuStreamDestroy", self.stream)
        api.release("cuDevicePrimaryCtxRelease", self.device)


def _retained(physical: Physical, device: Any) -> Any:
    try:
        return api.call("cuDevicePrimaryCtxRetain", device)
    except api.CudaError as error:
        taken = (
            f"; others hold nearly all of its {physical.memory >> 20} MiB" if error.status == api.OUT_OF_MEMORY else ""
        )
        raise BackendError(f"{physical.name}: {error}{taken}") from error
