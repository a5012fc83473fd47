"""Kernels: the shaders' texts as CUDA C++, compiled once a device and loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import BackendError
from ...shaders.interface import n_threads, of_text
from ...shaders.kernel import KernelCode
from ...shaders.texts import text, texts
from ..base import Progress
from ..lowered import Dispatch
from ..together import Once, made_together
from . import api, nvrtc
from .context import Context

ENTRY = b"vkrun_kernel"


@dataclass(frozen=True)
class KernelKey:
    """What makes one machine code differ from another. `branches`: it looks itself whether a run takes it."""

    code: KernelCode
    branches: bool

    @staticmethod
    def of(dispatch: Dispatch) -> "KernelKey":
        return KernelKey(dispatch.call.code, dispatch.branch is not None)

    @property
    def title(self) -> str:
        return self.code.title

    @property
    def text(self) -> str:
        return text(self.code.stem, self.code.defines)

    def source(self) -> str:
        """CUDA C++, over the preludes."""
        special = of_text(self.code.stem, self.code.defines).macros(dict(self.code.constants))
        branch = "#define VK_BRANCH\n" if self.branches else ""
        large = f"#define VK_DYNAMIC {self.code.granted_nbytes}u\n" if self.code.granted_nbytes else ""
        return f'{special}{branch}{large}#include "cuda.h"\n{self.text}'


@dataclass(frozen=True, eq=False)
class LoadedKernel:
    """`asks_early`: for weights, before it waits for what other kernels write. granted_nbytes: what a launch grants."""

    function: Any
    n_threads: int
    asks_early: bool
    granted_nbytes: int


class Kernels:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._arch = nvrtc.architecture(context.physical.capability)
        self._cubins = Once(self._cubin)
        self._made: dict[KernelKey, LoadedKernel] = {}
        self._modules: list[Any] = []

    def get(self, keys: Iterable[KernelKey], progress: Progress | None = None) -> dict[KernelKey, LoadedKernel]:
        """Kernels for keys, those missing compiled in parallel. BackendError names the shader that fails."""
        wanted = list(keys)
        self._make_texts(wanted)
        return made_together(self._made, wanted, self._cubins, self._load, progress)

    def ahead(self, keys: Iterable[KernelKey]) -> None:
        """Compile those that are missing, beside whatever else is done, and load none."""
        wanted = list(keys)
        self._make_texts(wanted)
        self._cubins.ahead(k for k in wanted if k not in self._made)

    def _make_texts(self, keys: Iterable[KernelKey]) -> None:
        texts((k.code.stem, k.code.defines) for k in keys if k not in self._made)

    def close(self) -> None:
        for module in self._modules:
            api.release("cuModuleUnload", module)
        self._made.clear()
        self._modules.clear()

    def _cubin(self, key: KernelKey) -> bytes:
        return nvrtc.cubin(key.title, key.source(), self._arch)

    def _load(self, key: KernelKey, cubin: bytes) -> LoadedKernel:
        try:
            module = api.call("cuModuleLoadData", cubin)
        except api.CudaError as error:
            raise BackendError(f"{error}: shader {key.title}, compiled for {self._arch}") from error
        self._modules.append(module)
        function = api.call("cuModuleGetFunction", module, ENTRY)
        if nbytes := key.code.granted_nbytes:
            most = api.driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            api.call("cuFuncSetAttribute", function, most, nbytes)
        asks_early = not key.branches and "VK_ENTRY_BODY_LATE" in key.text
        return LoadedKernel(function, n_threads(key.code), asks_early, nbytes)
