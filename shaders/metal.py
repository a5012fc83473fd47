"""Kernels in the Metal Shading Language: one source each, prelude and all, and what every Apple GPU can do with it.

An entry takes its buffers, in the order of their bindings, as [[buffer(0)]] and on, then its arguments as one constant
struct in the next, and declares its arrays of threadgroup memory itself. The host compiles with safe maths and makes
pipelines only where a simdgroup has 32 threads, which FEATURES counts on; those of Intel Macs may have others.
"""

import functools
from dataclasses import dataclass

from .compile import Defines
from .interface import n_threads, of_text
from .kernel import Features, KernelCode
from .texts import prelude, text

ENTRY = "vkrun_kernel"


@dataclass(frozen=True)
class Limits:
    """Apple's Metal Feature Set Tables, "Implementation limits by GPU family": the least of Apple7 to Apple9."""

    buffers: int = 31  # buffer arguments of a function
    threadgroup_nbytes: int = 32768
    threadgroup_alignment: int = 16
    threads: int = 1024  # of a threadgroup; a pipeline may allow fewer
    set_bytes_nbytes: int = 4096  # that setBytes takes
    constant_alignment: int = 4  # of an offset in the constant address space, on Apple's own GPUs


LIMITS = Limits()

# Matrices of 16 x 16 are four of Metal's own, see preludes/metal_matrices.h. Metal has no dot product of bytes.
FEATURES = Features(
    subgroup_size=32,
    float16=True,
    cooperative_matrix=((16, 16, 16),),
    shared_nbytes=LIMITS.threadgroup_nbytes,
    max_workgroup=LIMITS.threads,
    delta_chunks=True,
)


@dataclass(frozen=True)
class MetalCode:
    """`text` is one source for newLibraryWithSource; `n_buffers` is also where the arguments go, if it has any."""

    text: str
    entry: str
    n_buffers: int
    arguments_nbytes: int
    n_threads: int


@functools.cache
def metal_code(code: KernelCode) -> MetalCode:
    """BackendError when the text cannot be had."""
    interface = of_text(code.stem, code.defines)
    return MetalCode(text_of(code), ENTRY, interface.n_buffers, interface.words.size, n_threads(code))


def text_of(code: KernelCode) -> str:
    special = of_text(code.stem, code.defines).macros(dict(code.constants))
    return special + plain_text(code.stem, code.defines)


def plain_text(stem: str, defines: Defines) -> str:
    """With the constants that the shader has by itself."""
    return f"{prelude('metal')}{prelude('metal_matrices')}{text(stem, defines)}"
