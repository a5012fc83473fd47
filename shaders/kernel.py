"""Kernel and KernelCall: what the catalogue tells a Vulkan host about running one node as one dispatch."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..runtime.ir.graph import Node
from ..runtime.ir.quants import packed_row_nbytes
from ..runtime.ir.tensor import Storage, Tensor

Defines = tuple[tuple[str, str], ...]
Variant = tuple[str, Defines]  # the stem of a .comp file, and its -D options

MAX_GROUPS = 65535  # of one grid axis, which every Vulkan device allows
PUSH_NBYTES = 128  # which every Vulkan device allows


@dataclass(frozen=True)
class Features:
    """What a device offers beyond plain Vulkan 1.1. The default is the poorest device there is."""

    subgroup_size: int = 0  # 0: no subgroup arithmetic in compute shaders
    subgroup_size_control: bool = False
    storage_16bit: bool = False
    storage_8bit: bool = False
    float16: bool = False
    int8: bool = False
    int_dot: bool = False
    cooperative_matrix: bool = False
    shared_nbytes: int = 16384
    max_workgroup: int = 128
    delta_chunks: bool = False  # may the delta rule run in chunks of tokens, where shared memory allows it?
    software: bool = False  # a CPU: a workgroup runs on one thread, barriers are dear


@dataclass(frozen=True)
class At:
    """A push constant: where argument i starts in its binding, in elements (packed block types: in 32-bit words).

    The host fills it in, since only it knows whether a binding starts at the storage or at the block around it.
    """

    arg: int


@dataclass(frozen=True)
class KernelCall:
    """One dispatch: `args` are the storage buffers of bindings 0, 1, ...; `push` the push constants' 32-bit words;
    `spec` the specialisation constants 0, 1, ...; `grid` the workgroups."""

    stem: str
    defines: Defines
    args: tuple[Tensor, ...]
    push: tuple[int | float | At, ...]
    grid: tuple[int, int, int]
    spec: tuple[int, ...] = ()

    def push_bytes(self, base: Callable[[Storage], int]) -> bytes:
        """The push constants, given the byte at which each storage starts in its binding."""
        words = (start_of(self.args[w.arg], base) if isinstance(w, At) else w for w in self.push)
        return b"".join(struct.pack("<f" if isinstance(w, float) else "<I", w) for w in words)


@dataclass(frozen=True)
class Kernel:
    """One way to run an op. `refuses` returns "" or what the kernel cannot take, in a line."""

    op: str
    refuses: Callable[[Node, Features], str]
    lower: Callable[[Node, Features], KernelCall]
    variants: Iterable[Variant]


def start_of(t: Tensor, base: Callable[[Storage], int]) -> int:
    """Where a tensor starts in its binding, in elements, or in 32-bit words for packed block types."""
    if t.dtype.is_quantised:
        n = t.shape[-1]
        return (base(t.storage) + t.layout.offset // n * packed_row_nbytes(t.dtype, n)) // 4
    return base(t.storage) // t.dtype.block_bytes + t.layout.offset


def grid_of(n_groups: int) -> tuple[int, int, int]:
    """A grid of at least n_groups workgroups; shaders take x + y * gl_NumWorkGroups.x and leave the rest idle."""
    if n_groups <= MAX_GROUPS:
        return n_groups, 1, 1
    rows = -(-n_groups // MAX_GROUPS)
    return -(-n_groups // rows), rows, 1


def fills_subgroup(features: Features) -> int:
    """Invocations of a workgroup that fills a GPU's widest subgroup; on a CPU one SIMD register, so that there are more
    to share."""
    return 8 if features.software else 64


def takes_all(_node: Node, _features: Features) -> str:
    """Of a kernel that refuses nothing."""
    return ""
