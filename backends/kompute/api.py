"""The one file that touches `kp`: its calls made safe, its errors ours.

What kp 0.9 leaves to its caller, and what is done about it here:
- push and specialisation constants are taken bit for bit only as uint32 arrays; lists become floats;
- buffers are not checked for size: bytes are counted in 32 bits, and no limit of the device can be asked for, so that
  no block is larger than what every Vulkan device binds;
- a sequence can be recorded once only, and nothing orders two dispatches of one sequence: a caller puts none into one
  that depend on each other, and evaluates sequences one after the other, for which kp waits on a fence;
- memory that host and device share is coherent, but kp records no barrier towards the host for it; the wait on the
  fence is what kp itself, and every driver known, takes for one;
- the results of submitting and waiting are thrown away: see Transfers.check.
"""

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ...runtime import config
from ...runtime.errors import BackendError
from ...shaders.kernel import ARGUMENTS_NBYTES

BLOCK_NBYTES = 1 << 27  # the least maxStorageBufferRange that Vulkan allows

VALIDATION = {  # for Vulkan's loader, since kp's instance cannot be told
    "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation",
    "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
}

Grid = tuple[int, int, int]


@functools.cache
def load() -> Any:
    """The module kp. ImportError where it, or the Vulkan loader it is linked with, is missing."""
    if config.read().validate:
        config.export(VALIDATION)
    root = logging.getLogger()
    before = list(root.handlers)
    kp = import_module("kp")
    for handler in [h for h in root.handlers if h not in before]:  # kp calls logging.basicConfig()
        root.removeHandler(handler)
    return kp


class Block:
    """One buffer, bound whole. `bytes` is its live memory as uint8, or None where only the device sees it."""

    def __init__(self, tensor: Any, nbytes: int, on_host: bool) -> None:
        self.tensor, self.nbytes = tensor, nbytes
        self.bytes: np.ndarray | None = tensor.data().view(np.uint8) if on_host else None

    @property
    def closed(self) -> bool:
        return self.tensor is None

    def close(self) -> None:
        self.bytes = None  # the view would dangle
        if self.tensor is not None:
            self.tensor.destroy()
        self.tensor = None


class Api:
    """One open device."""

    def __init__(self, index: int) -> None:
        self._kp = load()
        with errors(f"opening device {index}"):
            self._manager = self._kp.Manager(index)

    def block(self, nbytes: int, on_host: bool) -> Block:
        """Memory of zeros when it is on the host, and of anything on the device."""
        n_words = -(-max(nbytes, 4) // 4)
        if n_words * 4 > BLOCK_NBYTES:
            raise BackendError(f"buffer of {nbytes} bytes, at most {BLOCK_NBYTES} are possible with kompute")
        kind = self._kp.TensorTypes.host if on_host else self._kp.TensorTypes.storage
        with errors(f"allocating {nbytes} bytes"):
            return Block(self._open.tensor_t(np.zeros(n_words, np.uint32), kind), n_words * 4, on_host)

    def algorithm(self, blocks: Iterable[Block], spirv: bytes, grid: Grid, spec: Mapping[int, int], n_push: int) -> Any:
        """A pipeline with its bindings and its grid, which kp does not tell apart; kp counts constants from 0."""
        if 4 * n_push > ARGUMENTS_NBYTES:
            raise BackendError(f"push constants of {4 * n_push} bytes, at most {ARGUMENTS_NBYTES}")
        constants, push = np.zeros(max(spec, default=-1) + 1, np.uint32), np.zeros(n_push, np.uint32)
        for number, value in spec.items():
            constants[number] = value
        with errors("making a pipeline"):
            return self._open.algorithm([b.tensor for b in blocks], spirv, grid, constants, push)

    def sequence(self, dispatches: Iterable[tuple[Any, np.ndarray]]) -> Any:
        """A recorded command buffer of dispatches (algorithm, push constants) that do not depend on each other."""
        with errors("recording"):
            sequence = self._open.sequence()
            for algorithm, push in dispatches:
                sequence.record(self._kp.OpAlgoDispatch(algorithm, push))
        return sequence

    @property
    def closed(self) -> bool:
        return self._manager is None

    def close(self) -> None:
        """To be called after everything made here has been dropped."""
        if self._manager is not None:
            self._manager.destroy()
        self._manager = None

    @property
    def _open(self) -> Any:
        if self._manager is None:
            raise BackendError("kompute: the device is closed")
        return self._manager


@functools.cache
def list_devices() -> list[dict[str, Any]]:
    """kp's description of each device, in order of index, asked for once. BackendError where there is none."""
    kp = load()
    with errors("listing devices"):
        manager = kp.Manager(0)
        try:
            return [dict(properties) for properties in manager.list_devices()]
        finally:
            manager.destroy()


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """kp and the Vulkan C++ headers under it throw RuntimeError for all that they notice."""
    try:
        yield
    except RuntimeError as error:
        raise BackendError(f"kompute: {doing}: {error}") from error
