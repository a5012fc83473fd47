"""Dispatches as launches of kernels, with all that they are given."""

import ctypes
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ...runtime.ir.tensor import Storage
from ...shaders.interface import of_text
from ...shaders.kernel import ARGUMENTS_NBYTES
from ..lowered import Dispatch
from ..packing import argument_bytes
from . import api
from .kernels import KernelKey, LoadedKernel

At = Callable[[Storage], int]  # where a storage begins on the device


class Launch:
    """A kernel with its parameters, which it keeps alive."""

    def __init__(self, dispatch: Dispatch, kernel: LoadedKernel, at: At) -> None:
        self.node, self.grid, self.kernel = dispatch.node, dispatch.call.grid, kernel
        self._values = _parameters(dispatch, at)
        self._pointers = (ctypes.c_void_p * len(self._values))(*map(ctypes.addressof, self._values))

    @cached_property
    def node_params(self) -> Any:
        """CUDA_KERNEL_NODE_PARAMS."""
        params = api.driver().CUDA_KERNEL_NODE_PARAMS()
        params.func = self.kernel.function
        params.gridDimX, params.gridDimY, params.gridDimZ = self.grid
        params.blockDimX, params.blockDimY, params.blockDimZ = self.kernel.n_threads, 1, 1
        params.sharedMemBytes = self.kernel.granted_nbytes
        params.kernelParams = ctypes.addressof(self._pointers)
        return params

    def go(self, stream: Any) -> None:
        """Begin it by itself, without a graph."""
        block = self.kernel.n_threads, 1, 1
        parameters = ctypes.addressof(self._pointers)
        granted = self.kernel.granted_nbytes
        api.call("cuLaunchKernel", self.kernel.function, *self.grid, *block, granted, stream, parameters, 0)


def launches_of(dispatches: list[Dispatch], kernels: Mapping[KernelKey, LoadedKernel], at: At) -> list[Launch]:
    return [Launch(dispatch, kernels[KernelKey.of(dispatch)], at) for dispatch in dispatches]


def _parameters(dispatch: Dispatch, at: At) -> list[Any]:
    """In the order of the kernel's entry: what decides its branch, its buffers, its arguments."""
    values: list[Any] = []
    if branch := dispatch.branch:
        which = at(branch.which.storage) + branch.which.layout.offset * branch.which.dtype.block_bytes
        values += [ctypes.c_uint64(which), ctypes.c_int(branch.side)]
    ordered = of_text(dispatch.call.stem, dispatch.call.defines).order(dispatch.call)
    values += [ctypes.c_uint64(at(t.storage)) for t in ordered.buffers]
    arguments = argument_bytes(ordered, lambda _storage: 0)
    return [*values, ctypes.create_string_buffer(arguments, ARGUMENTS_NBYTES)]
