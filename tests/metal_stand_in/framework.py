"""A stand-in for Apple's Metal as pyobjc shows it, on which the whole metal backend runs without a Mac: memory of this
process, kernels on the processor. It refuses what Apple's documentation rules out (rules.py), and counts every call."""

import threading
import weakref
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from vkrun.backends.metal.api import System

from .indirect import IndirectCommandBuffer, IndirectCommandBufferDescriptor
from .memory import Buffer
from .pipelines import (
    MAX_THREADGROUP_NBYTES,
    MAX_THREADS,
    SIMD_WIDTH,
    BinaryArchive,
    BinaryArchiveDescriptor,
    Compile,
    CompileOptions,
    ComputePipelineDescriptor,
    ComputePipelineState,
    Library,
)
from .queue import CommandQueue
from .rules import demand
from .values import URL, Failure, Range, Size

MEMORY_NBYTES, MAX_BUFFER_NBYTES = 1 << 28, 1 << 27
MAC = System("darwin", "arm64", "14.5")
ONLY_ARCHIVE = 4


class Device:
    """MTLDevice. `taken` is memory that others have; `failures` are errors for the next command buffers; `misuses` what
    could not be raised where it happened."""

    def __init__(self, stand_in: "StandIn") -> None:
        self._stand_in = stand_in
        self.buffers: weakref.WeakSet[Buffer] = weakref.WeakSet()
        self.queues: weakref.WeakSet[CommandQueue] = weakref.WeakSet()
        self.taken, self.failures, self.misuses, self.keeps = 0, [], [], False
        self.family, self.is_unified = 1009, True
        self.max_threads, self.simd_width = MAX_THREADS, SIMD_WIDTH

    def count(self, name: str) -> None:
        self._stand_in.calls[name] += 1

    def demand_pool(self) -> None:
        demand(self._stand_in.is_in_pool, "pool", "made outside of an autorelease pool")

    def name(self) -> str:
        return "Stand-in M3"

    def registryID(self) -> int:
        return 0x100000ABC

    def recommendedMaxWorkingSetSize(self) -> int:
        return MEMORY_NBYTES

    def currentAllocatedSize(self) -> int:
        self.count("currentAllocatedSize")
        return self.taken + sum(b.length() for b in self.buffers)

    def maxBufferLength(self) -> int:
        return MAX_BUFFER_NBYTES

    def maxThreadgroupMemoryLength(self) -> int:
        return MAX_THREADGROUP_NBYTES

    def maxThreadsPerThreadgroup(self) -> Size:
        return Size(MAX_THREADS, MAX_THREADS, MAX_THREADS)

    def supportsFamily_(self, family: int) -> bool:
        return family <= self.family

    def hasUnifiedMemory(self) -> bool:
        return self.is_unified

    def newCommandQueue(self) -> CommandQueue:
        made = CommandQueue(self)
        self.queues.add(made)
        return made

    def newBufferWithLength_options_(self, nbytes: int, options: int) -> Buffer | None:
        self.count("newBufferWithLength_options_")
        demand(1 <= nbytes <= MAX_BUFFER_NBYTES, "length", f"a buffer of {nbytes} bytes")
        assert options == self._stand_in.MTLResourceStorageModeShared
        return Buffer(self, nbytes) if nbytes <= MEMORY_NBYTES - self.currentAllocatedSize() else None

    def newLibraryWithSource_options_error_(
        self, source: str, options: CompileOptions, error: None
    ) -> tuple[Library | None, Failure | None]:
        self.count("newLibraryWithSource_options_error_")
        assert options.set == {"version": "MTLLanguageVersion3_0", "maths": "MTLMathModeSafe"}
        try:
            return Library(source, self._stand_in.compile(source)), None
        except ValueError as why:
            return None, Failure(3, str(why))

    def newComputePipelineStateWithDescriptor_options_reflection_error_(
        self, descriptor: ComputePipelineDescriptor, options: int, reflection: None, error: None
    ) -> tuple[ComputePipelineState | None, Failure | None]:
        assert descriptor.function is not None
        kept = any(descriptor.function.source in archive.sources for archive in descriptor.archives)
        self.count("pipelines found" if kept else "pipelines missed" if options == ONLY_ARCHIVE else "pipelines made")
        if options == ONLY_ARCHIVE and not kept:
            return None, Failure(1, "not in the archive")
        return ComputePipelineState(descriptor, self.max_threads, self.simd_width), None

    def newIndirectCommandBufferWithDescriptor_maxCommandCount_options_(
        self, descriptor: IndirectCommandBufferDescriptor, n: int, options: int
    ) -> IndirectCommandBuffer:
        self.count("newIndirectCommandBufferWithDescriptor_maxCommandCount_options_")
        return IndirectCommandBuffer(self, descriptor, n)

    def newBinaryArchiveWithDescriptor_error_(
        self, descriptor: BinaryArchiveDescriptor, error: None
    ) -> tuple[BinaryArchive | None, Failure | None]:
        return BinaryArchive.made(self, descriptor)


class StandIn:
    """The module Metal, and objc with it. `compile` makes a kernel of a source."""

    MTLSize, NSMakeRange, NSURL = Size, Range, URL
    MTLCompileOptions, MTLComputePipelineDescriptor = CompileOptions, ComputePipelineDescriptor
    MTLBinaryArchiveDescriptor = BinaryArchiveDescriptor
    MTLIndirectCommandBufferDescriptor = IndirectCommandBufferDescriptor
    MTLResourceStorageModeShared, MTLResourceUsageRead, MTLResourceUsageWrite = 0, 1, 2
    MTLGPUFamilyApple7, MTLGPUFamilyApple9 = 1007, 1009
    MTLPipelineOptionNone, MTLPipelineOptionFailOnBinaryArchiveMiss = 0, ONLY_ARCHIVE
    MTLCommandBufferStatusCompleted, MTLCommandBufferStatusError = 4, 5

    def __init__(self, compile: Compile, n_devices: int = 1) -> None:
        self.compile, self.system = compile, MAC
        self.calls: Counter[str] = Counter()
        self.devices = [Device(self) for _ in range(n_devices)]
        self._threads = threading.local()
        self.objc = SimpleNamespace(autorelease_pool=self._pool)

    def __getattr__(self, name: str) -> Any:
        """Other constants mean themselves."""
        if not name.startswith("MTL"):
            raise AttributeError(name)
        return name

    @property
    def device(self) -> Device:
        return self.devices[0]

    @property
    def is_in_pool(self) -> bool:
        return getattr(self._threads, "depth", 0) > 0

    @property
    def alive(self) -> list[str]:
        """What was not given back, and what went wrong unheard."""
        return [m for d in self.devices for m in (*(f"{b.length()} bytes" for b in d.buffers), *d.misuses)]

    def MTLCopyAllDevices(self) -> list[Device]:
        return self.devices

    @contextmanager
    def _pool(self):
        self.calls["autorelease_pool"] += 1
        self._threads.depth = getattr(self._threads, "depth", 0) + 1
        try:
            yield
        finally:
            self._threads.depth -= 1
