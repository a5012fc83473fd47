"""Kernels: the shaders' texts as MSL, compiled once a device, several at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...runtime import config
from ...runtime.errors import BackendError
from ...shaders.kernel import KernelCode
from ...shaders.metal import FEATURES, LIMITS, MetalCode, metal_code
from ...shaders.texts import texts
from ..base import Progress
from ..together import made_together
from . import api
from .archive import Archive
from .context import Context


@dataclass(frozen=True, eq=False)
class Pipeline:
    """`state` is its MTLComputePipelineState, `threads` the MTLSize of a threadgroup."""

    state: Any
    threads: Any


@dataclass(frozen=True, eq=False)
class Compiled:
    state: Any
    descriptor: Any  # what the archive lacks, or None


class Kernels:
    def __init__(self, context: Context) -> None:
        self._context, self._archive = context, Archive(context)
        self._made: dict[KernelCode, Pipeline] = {}
        self._unkept: list[Any] = []

    def get(self, codes: Iterable[KernelCode], progress: Progress | None = None) -> dict[KernelCode, Pipeline]:
        """Pipelines for codes, those missing compiled in parallel. BackendError names the shader that fails."""
        wanted = list(codes)
        texts((code.stem, code.defines) for code in wanted if code not in self._made)
        return made_together(self._made, wanted, self._compile, self._keep, progress)

    def close(self) -> None:
        """What was compiled goes to the archive now: adding compiles again, which nobody waits for here."""
        with api.pool():
            for descriptor in self._unkept:
                self._archive.add(descriptor)
            self._archive.save()
        self._unkept.clear()
        self._made.clear()

    def _compile(self, code: KernelCode) -> Compiled:
        """From the archive, or else by Metal's compiler."""
        metal, device = self._context.metal, self._context.device
        with api.pool():
            made = metal_code(code)
            descriptor = self._descriptor(code, made)
            if self._archive.handle is not None:
                descriptor.setBinaryArchives_([self._archive.handle])
                only = metal.MTLPipelineOptionFailOnBinaryArchiveMiss
                make = device.newComputePipelineStateWithDescriptor_options_reflection_error_
                if (state := make(descriptor, only, None, None)[0]) is not None:
                    return Compiled(self._checked(code, made, state), None)
            config.note(4, f"compile {code.title}")
            state, *_, error = device.newComputePipelineStateWithDescriptor_options_reflection_error_(
                descriptor, metal.MTLPipelineOptionNone, None, None
            )
            if state is None:
                raise api.MetalError(self._context.physical.name, f"pipeline of shader {code.title}", error)
            return Compiled(self._checked(code, made, state), descriptor)

    def _descriptor(self, code: KernelCode, made: MetalCode) -> Any:
        descriptor = self._context.metal.MTLComputePipelineDescriptor.alloc().init()
        descriptor.setComputeFunction_(self._function(code, made))
        descriptor.setMaxTotalThreadsPerThreadgroup_(made.n_threads)
        descriptor.setSupportIndirectCommandBuffers_(self._context.replays)
        descriptor.setThreadGroupSizeIsMultipleOfThreadExecutionWidth_(made.n_threads % FEATURES.subgroup_size == 0)
        return descriptor

    def _function(self, code: KernelCode, made: MetalCode) -> Any:
        n_bound = made.n_buffers + bool(made.arguments_nbytes)
        if n_bound > LIMITS.buffers:
            raise BackendError(f"shader {code.title}: {n_bound} buffers, Metal takes {LIMITS.buffers}")
        library, error = self._context.device.newLibraryWithSource_options_error_(made.text, self._options(), None)
        if library is None:
            raise api.MetalError(self._context.physical.name, f"shader {code.title}", error)
        return library.newFunctionWithName_(made.entry)

    def _options(self) -> Any:
        """No arithmetic that loses NaN or infinities."""
        metal, options = self._context.metal, self._context.metal.MTLCompileOptions.alloc().init()
        options.setLanguageVersion_(metal.MTLLanguageVersion3_0)
        if hasattr(options, "setMathMode_"):  # from macOS 15 on, which warns of the other
            options.setMathMode_(metal.MTLMathModeSafe)
        else:
            options.setFastMathEnabled_(False)
        return options

    def _checked(self, code: KernelCode, made: MetalCode, state: Any) -> Any:
        """What Metal says only of what it compiled."""
        name, wanted, width = self._context.physical.name, made.n_threads, FEATURES.subgroup_size
        if wanted > (most := state.maxTotalThreadsPerThreadgroup()):
            raise BackendError(f"{name}: shader {code.title}: {wanted} threads in a threadgroup, it can have {most}")
        if (own := state.threadExecutionWidth()) != width:
            raise BackendError(f"{name}: shader {code.title}: simdgroups of {own}, {width} are needed")
        return state

    def _keep(self, code: KernelCode, compiled: Compiled) -> Pipeline:
        if compiled.descriptor is not None:
            self._unkept.append(compiled.descriptor)
        return Pipeline(compiled.state, self._context.metal.MTLSize(metal_code(code).n_threads, 1, 1))
