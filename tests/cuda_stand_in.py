"""A stand-in for NVIDIA's driver: memory of the host, kernels of the host backend, graphs run in an order of their own.

It has the functions of cuda.bindings.driver that backends/cuda calls, and refuses what a driver would: memory that is
not there, calls without a context, handles that are gone. `alive` names what was not given back.
"""

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from vkrun.backends.cuda.kernels import KernelKey
from vkrun.backends.host.dispatch import Bound, Dispatch, Lanes
from vkrun.backends.host.kernels import kernel
from vkrun.shaders.interface import n_threads, of_text

MEMORY_NBYTES = 1 << 28
GRANULARITY = 1 << 21
ATTRIBUTES = {
    "COMPUTE_CAPABILITY_MAJOR": 9,
    "COMPUTE_CAPABILITY_MINOR": 0,
    "INTEGRATED": 0,
    "MAX_SHARED_MEMORY_PER_BLOCK": 49152,
    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448,
    "MAX_THREADS_PER_BLOCK": 1024,
    "KERNEL_EXEC_TIMEOUT": 0,
    "VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED": 1,
    "MULTIPROCESSOR_COUNT": 4,
}
INVALID_VALUE, OUT_OF_MEMORY, NOT_FOUND, INVALID_CONTEXT, ILLEGAL_ADDRESS = 1, 2, 500, 201, 700

Work = Callable[[], None]


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class _Words(SimpleNamespace):
    """Whatever enumeration it is asked for: a name means itself."""

    def __getattr__(self, name: str) -> str:
        return name


class Function:
    """A kernel with how its parameters are laid out, as its text says."""

    def __init__(self, key: KernelKey) -> None:
        declared = of_text(key.code.stem, key.code.defines)
        self.branches, self.n_threads = key.branches, n_threads(key.code)
        self.n_buffers, self.arguments_nbytes = declared.n_buffers, declared.words.size
        self.kernel = kernel(key.code)
        self.wanted_nbytes, self.granted_nbytes = key.code.granted_nbytes, 0


class Graph:
    def __init__(self) -> None:
        self.work: list[Work] = []
        self.after: list[set[int]] = []

    def add(self, work: Work, dependencies: Sequence[int]) -> int:
        assert all(d < len(self.work) for d in dependencies)
        self.work.append(work)
        self.after.append(set(dependencies))
        return len(self.work) - 1

    def run(self) -> None:
        """Of what may run, what was added last goes first."""
        left = set(range(len(self.work)))
        while left:
            ready = max(i for i in left if not self.after[i] & left)
            self.work[ready]()
            left.remove(ready)


class StandIn:
    """Functions return (status, result...), as those of cuda.bindings.driver.

    `edges` counts programmatic ones; `refuses` gives names of functions a status and how many calls come before it;
    `taken` is memory that others have.
    """

    CUdevice_attribute = CUmemAllocationType = CUmemLocationType = CUmemAccess_flags = CUmemorytype = _Words()
    CUmemAllocationGranularity_flags = _Words()
    CUDA_KERNEL_NODE_PARAMS = CUDA_MEMCPY3D = CUgraphEdgeData = CUmemAccessDesc = SimpleNamespace

    def __init__(self, version: int = 13000, n_devices: int = 1) -> None:
        self.version, self.n_devices, self.taken = version, n_devices, 0
        self.attributes = dict(ATTRIBUTES)
        self.refuses: dict[str, tuple[int, int]] = {}
        self.threads, self._next = threading.local(), 1
        self.memory: dict[int, np.ndarray] = {}  # by address
        self.on_device: set[int] = set()  # addresses that take the device's memory
        self.mapped: dict[int, int] = {}  # address and bytes, which do too
        self.handles: dict[Any, Any] = {}
        self.calls: Counter[str] = Counter()
        self.edges = 0
        self.is_lost = False  # then nearly every call is refused

    @property
    def alive(self) -> list[str]:
        return [str(h) for h in (*self.memory, *self.mapped, *self.handles)]

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("cu"):
            return found
        if name == "cuGraphAddDependencies_v2":
            raise AttributeError(name)

        def checked(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            status, n_calls = self.refuses.get(name, (0, 0))
            if status and self.calls[name] > n_calls:
                return (status,)
            if self.is_lost and name not in ("cuCtxSetCurrent", "cuGetErrorString"):
                return (ILLEGAL_ADDRESS,)
            try:
                given = found(*arguments)
            except _Refused as refused:
                return (refused.status,)
            return (0,) if given is None else (0, *given) if isinstance(given, tuple) else (0, given)

        return checked

    def CUmemAllocationProp(self) -> SimpleNamespace:
        return SimpleNamespace(location=SimpleNamespace())

    # what a driver says of itself

    def cuInit(self, _flags: int) -> None:
        return None

    def cuDriverGetVersion(self) -> int:
        return self.version

    def cuGetErrorString(self, status: int) -> bytes:
        return f"status {status}".encode()

    def cuDeviceGetCount(self) -> int:
        return self.n_devices

    def cuDeviceGet(self, index: int) -> int:
        return index

    def cuDeviceGetName(self, _n: int, _device: int) -> bytes:
        return b"Stand-in\0\0"

    def cuDeviceGetUuid(self, _device: int) -> SimpleNamespace:
        return SimpleNamespace(bytes=bytes(range(16)))

    def cuDeviceTotalMem(self, _device: int) -> int:
        return MEMORY_NBYTES

    def cuDeviceGetAttribute(self, which: str, _device: int) -> int:
        return self.attributes[which.removeprefix("CU_DEVICE_ATTRIBUTE_")]

    def cuDevicePrimaryCtxRetain(self, _device: int) -> str:
        return self._made("context")

    def cuDevicePrimaryCtxRelease(self, _device: int) -> None:
        self._gone(next(h for h in self.handles if h.startswith("context")))

    def cuCtxSetCurrent(self, context: str) -> None:
        self.threads.context = self._known(context)

    # memory

    def cuMemGetInfo(self) -> tuple[int, int]:
        self._in_context()
        used = sum(self.memory[address].nbytes for address in self.on_device) + sum(self.mapped.values())
        return MEMORY_NBYTES - self.taken - used, MEMORY_NBYTES

    def cuMemAlloc(self, nbytes: int) -> int:
        self._check_room(nbytes)
        address = self._allocated(nbytes)
        self.on_device.add(address)
        return address

    def cuMemFree(self, address: int) -> None:
        self.on_device.remove(address)
        self._free(address)

    def cuMemHostAlloc(self, nbytes: int, _flags: int) -> int:
        return self._allocated(nbytes)

    def cuMemFreeHost(self, address: int) -> None:
        self._free(address)

    def cuMemGetAllocationGranularity(self, _kind: object, _which: str) -> int:
        return GRANULARITY

    def cuMemAddressReserve(self, nbytes: int, *_rest: int) -> int:
        assert nbytes % GRANULARITY == 0
        return self._allocated(nbytes)

    def cuMemAddressFree(self, address: int, nbytes: int) -> None:
        assert self.memory[address].nbytes == nbytes and not self.mapped
        self._free(address)

    def cuMemCreate(self, nbytes: int, _kind: object, _flags: int) -> str:
        self._check_room(nbytes)
        return self._made("memory", nbytes)

    def cuMemMap(self, address: int, nbytes: int, _offset: int, memory: str, _flags: int) -> None:
        assert self._known(memory) == nbytes and nbytes % GRANULARITY == 0
        self.mapped[address] = nbytes

    def cuMemRelease(self, memory: str) -> None:
        self._gone(memory)

    def cuMemSetAccess(self, address: int, nbytes: int, _access: list[Any], _n: int) -> None:
        assert self.mapped[address] == nbytes

    def cuMemUnmap(self, address: int, nbytes: int) -> None:
        assert self.mapped.pop(address) == nbytes

    def cuMemcpyHtoDAsync(self, target: int, source: int, nbytes: int, stream: str) -> None:
        self._known(stream)
        self._room(target, nbytes)[:nbytes] = self._room(source, nbytes)[:nbytes]

    def cuMemcpyDtoHAsync(self, target: int, source: int, nbytes: int, stream: str) -> None:
        self._known(stream)
        ctypes.memmove(target, self._room(source, nbytes).ctypes.data, nbytes)

    def cuMemsetD8Async(self, target: int, value: int, nbytes: int, stream: str) -> None:
        self._known(stream)
        self._room(target, nbytes)[:nbytes] = value

    # streams, events, modules

    def cuStreamCreate(self, _flags: int) -> str:
        self._in_context()
        return self._made("stream")

    def cuStreamDestroy(self, stream: str) -> None:
        self._gone(stream)

    def cuStreamSynchronize(self, stream: str) -> None:
        self._known(stream)

    def cuEventCreate(self, _flags: int) -> str:
        return self._made("event")

    def cuEventDestroy(self, event: str) -> None:
        self._gone(event)

    def cuEventRecord(self, event: str, stream: str) -> None:
        self._known(event), self._known(stream)

    def cuEventSynchronize(self, event: str) -> None:
        self._known(event)

    def cuEventElapsedTime(self, first: str, second: str) -> float:
        self._known(first), self._known(second)
        return 1.0

    def cuModuleLoadData(self, key: KernelKey) -> str:
        self._in_context()
        return self._made("module", key)

    def cuModuleGetFunction(self, module: str, name: bytes) -> Function:
        if name != b"vkrun_kernel":
            raise _Refused(NOT_FOUND)
        return Function(self._known(module))

    def cuFuncSetAttribute(self, function: Function, name: str, value: int) -> None:
        assert name == "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES"
        if value > ATTRIBUTES["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"]:
            raise _Refused(INVALID_VALUE)
        function.granted_nbytes = value

    def cuModuleUnload(self, module: str) -> None:
        self._gone(module)

    # launches and graphs

    def cuLaunchKernel(self, function: Function, x: int, y: int, z: int, threads: int, *rest: Any) -> None:
        *_, shared_nbytes, stream, parameters, _extra = rest
        self._known(stream)
        self._work(function, (x, y, z), threads, shared_nbytes, parameters)()

    def cuGraphCreate(self, _flags: int) -> str:
        self._in_context()
        return self._made("graph", Graph())

    def cuGraphDestroy(self, graph: str) -> None:
        self._gone(graph)

    def cuGraphAddKernelNode(self, graph: str, after: Sequence[int], n: int, params: Any) -> int:
        assert n == len(after)
        grid = params.gridDimX, params.gridDimY, params.gridDimZ
        work = self._work(params.func, grid, params.blockDimX, params.sharedMemBytes, params.kernelParams)
        return self._known(graph).add(work, after)

    def cuGraphAddMemcpyNode(self, graph: str, after: Sequence[int], n: int, params: Any, context: str) -> int:
        assert n == len(after) and self._known(context) and params.Height == params.Depth == 1
        self._room(params.srcDevice, params.WidthInBytes)
        self._room(params.dstHost, params.WidthInBytes)
        source, target, nbytes = params.srcDevice, params.dstHost, params.WidthInBytes
        return self._known(graph).add(lambda: ctypes.memmove(target, source, nbytes), after)

    def cuGraphAddEventRecordNode(self, graph: str, after: Sequence[int], n: int, event: str) -> int:
        assert n == len(after) and self._known(event)
        return self._known(graph).add(lambda: None, after)

    def cuGraphAddDependencies(self, graph: str, before: Any, after: Any, edges: Any, n: int) -> None:
        for a, b, edge in zip(before, after, edges, strict=True):
            self.edges += edge.type == n and edge.from_port in (1, 2)
            self._known(graph).after[b].add(a)

    def cuGraphInstantiate(self, graph: str, _flags: int) -> str:
        return self._made("executable", self._known(graph))

    def cuGraphExecDestroy(self, graph: str) -> None:
        self._gone(graph)

    def cuGraphLaunch(self, graph: str, stream: str) -> None:
        self._in_context()
        self._known(stream)
        self._known(graph).run()

    def _work(self, function: Function, grid: tuple[int, ...], threads: int, shared: int, parameters: int) -> Work:
        """Parameters are taken now, as a driver does."""
        assert shared == function.wanted_nbytes == function.granted_nbytes
        assert threads == function.n_threads and min(grid) > 0
        n = 2 * function.branches + function.n_buffers + 1
        pointers = (ctypes.c_void_p * n).from_address(parameters)
        values = [ctypes.c_uint64.from_address(p or 0).value for p in pointers[: n - 1]]
        side = ctypes.c_int.from_address(pointers[1] or 0).value if function.branches else 0
        which = values[0] if function.branches else None
        rooms = [Bound(self._room(a, 4)) for a in values[2 * function.branches :]]
        arguments = ctypes.string_at(pointers[n - 1] or 0, function.arguments_nbytes)
        dispatch = Dispatch(function.kernel, rooms, arguments, grid, Lanes(32, False))

        def work() -> None:
            taken = which is None or bool(self._room(which, 4)[:4].view(np.int32)[0]) == bool(side)
            why = dispatch.run() if taken else ""
            assert not why, why

        return work

    def _check_room(self, nbytes: int) -> None:
        if nbytes > self.cuMemGetInfo()[1]:
            raise _Refused(OUT_OF_MEMORY)

    def _allocated(self, nbytes: int) -> int:
        self._in_context()
        made = np.full(nbytes + 256, 0xFF, np.uint8)
        made = made[-made.ctypes.data % 256 :][:nbytes]
        self.memory[made.ctypes.data] = made
        return made.ctypes.data

    def _free(self, address: int) -> None:
        self._in_context()
        del self.memory[address]

    def _room(self, address: int, nbytes: int) -> np.ndarray:
        """What lies from an address on, of the one allocation that holds it."""
        for start, made in self.memory.items():
            if start <= address and address + nbytes <= start + made.nbytes:
                return made[address - start :]
        raise _Refused(INVALID_VALUE)

    def _in_context(self) -> None:
        if getattr(self.threads, "context", None) is None:
            raise _Refused(INVALID_CONTEXT)

    def _made(self, what: str, value: Any = True) -> str:
        handle, self._next = f"{what} {self._next}", self._next + 1
        self.handles[handle] = value
        return handle

    def _known(self, handle: str) -> Any:
        if handle not in self.handles:
            raise _Refused(INVALID_VALUE)
        return self.handles[handle]

    def _gone(self, handle: str) -> None:
        self._known(handle)
        del self.handles[handle]
