"""Libraries, functions and pipelines, and archives of them on disk."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .rules import demand
from .values import URL, Failure, Made

SIMD_WIDTH, MAX_THREADS, MAX_THREADGROUP_NBYTES, MAX_BUFFERS = 32, 1024, 32 << 10, 31


class Kernel(Protocol):
    """A compiled kernel: what its entry declares, and how it runs. run() gives "" or what it did that it must not."""

    n_buffers: int
    arguments_nbytes: int
    n_threads: int
    threadgroup_nbytes: int

    def run(self, buffers: Sequence[np.ndarray], arguments: bytes, grid: Sequence[int]) -> str: ...


Compile = Callable[[str], Kernel]  # ValueError with what is wrong with a source


class CompileOptions(Made):
    def __init__(self) -> None:
        self.set: dict[str, Any] = {}

    def setLanguageVersion_(self, version: str) -> None:
        self.set["version"] = version

    def setMathMode_(self, mode: str) -> None:
        self.set["maths"] = mode


class Library:
    def __init__(self, source: str, kernel: Kernel) -> None:
        self._source, self._kernel = source, kernel

    def newFunctionWithName_(self, name: str) -> "Function | None":
        return Function(self._source, self._kernel) if name == "vkrun_kernel" else None


class Function:
    def __init__(self, source: str, kernel: Kernel) -> None:
        self.source, self.kernel = source, kernel


class ComputePipelineDescriptor(Made):
    def __init__(self) -> None:
        self.function: Function | None = None
        self.archives: Sequence[BinaryArchive] = ()
        self.max_threads, self.is_whole, self.is_indirect = 0, False, False

    def setComputeFunction_(self, function: Function | None) -> None:
        demand(function is not None, "errors", "a pipeline of no function")
        self.function = function

    def setMaxTotalThreadsPerThreadgroup_(self, n: int) -> None:
        demand(1 <= n <= MAX_THREADS, "threads", f"{n} threads in a threadgroup")
        self.max_threads = n

    def setThreadGroupSizeIsMultipleOfThreadExecutionWidth_(self, is_whole: bool) -> None:
        self.is_whole = is_whole

    def setSupportIndirectCommandBuffers_(self, is_indirect: bool) -> None:
        self.is_indirect = is_indirect

    def setBinaryArchives_(self, archives: Sequence["BinaryArchive"]) -> None:
        self.archives = archives


class ComputePipelineState:
    def __init__(self, descriptor: ComputePipelineDescriptor, max_threads: int, width: int) -> None:
        assert descriptor.function is not None
        self.kernel, self.is_whole, self._width = descriptor.function.kernel, descriptor.is_whole, width
        self.is_indirect = descriptor.is_indirect
        self._max_threads = min(max_threads, descriptor.max_threads or MAX_THREADS)
        nbytes = self.kernel.threadgroup_nbytes
        demand(nbytes <= MAX_THREADGROUP_NBYTES, "threadgroup memory", f"{nbytes} bytes of threadgroup memory")

    def maxTotalThreadsPerThreadgroup(self) -> int:
        return self._max_threads

    def threadExecutionWidth(self) -> int:
        return self._width


class BinaryArchiveDescriptor(Made):
    def __init__(self) -> None:
        self.url: URL | None = None

    def setUrl_(self, url: URL) -> None:
        self.url = url


class BinaryArchive:
    """Keeps the sources of what was added."""

    def __init__(self, device: Any, sources: Sequence[str]) -> None:
        self._device, self.sources = device, list(sources)

    @staticmethod
    def made(device: Any, descriptor: BinaryArchiveDescriptor) -> "tuple[BinaryArchive | None, Failure | None]":
        try:
            kept = json.loads(descriptor.url.path.read_text()) if descriptor.url else []
        except ValueError:
            return None, Failure(1, "invalid file")
        return BinaryArchive(device, kept), None

    def addComputePipelineFunctionsWithDescriptor_error_(
        self, descriptor: ComputePipelineDescriptor, error: None
    ) -> tuple[bool, Failure | None]:
        assert descriptor.function is not None
        self._device.count("addComputePipelineFunctionsWithDescriptor_error_")
        self.sources.append(descriptor.function.source)
        return True, None

    def serializeToURL_error_(self, url: URL, error: None) -> tuple[bool, Failure | None]:
        url.path.write_text(json.dumps(self.sources))
        return True, None
