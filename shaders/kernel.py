"""Kernel and KernelCall: what the catalogue tells a host, of whatever API, about running one node as one dispatch."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..runtime.ir.graph import Node
from ..runtime.ir.ops import OPS
from ..runtime.ir.tensor import Tensor
from ..runtime.tuning import Tuning
from .compile import title
from .operands import Operands, refusal

Defines = tuple[tuple[str, str], ...]
Variant = tuple[str, Defines]  # the stem of a .comp file, and its -D options

MAX_GROUPS = 65535  # of one grid axis, which every API allows
ARGUMENTS_NBYTES = 128  # which every API passes without a buffer; Vulkan promises no more


@dataclass(frozen=True)
class Features:
    """What a device offers beyond plain Vulkan 1.1. The default is the poorest device there is."""

    subgroup_size: int = 0  # 0: no subgroup arithmetic in compute shaders
    float16: bool = False
    int_dot: bool = False
    # rows, columns, inner of a subgroup's products of halves, summed in fp32
    cooperative_matrix: tuple[tuple[int, int, int], ...] = ()
    shared_nbytes: int = 16384
    warpgroup_nbytes: int = 0  # shared memory where four subgroups multiply as one, from there; 0: they cannot
    max_workgroup: int = 128
    delta_chunks: bool = False  # may scans run in chunks of tokens, where shared memory allows it?
    software: bool = False  # a CPU: a workgroup runs on one thread, barriers are dear
    nvrtc: bool = False  # are kernels compiled by NVRTC? Some are fast only so, others by a driver's compiler of SPIR-V
    tuning: Tuning = field(default_factory=Tuning)

    def offered(self) -> dict[str, object]:
        """By name, what the device has by itself."""
        return {name: value for name, value in vars(self).items() if name != "tuning"}


Argument = int | float | Tensor
Arguments = Mapping[str, Argument]
Buffers = Mapping[str, Tensor]
Constants = Mapping[str, int]


@dataclass(frozen=True)
class KernelCode:
    """What makes one machine code differ from another. granted_nbytes: as KernelCall's."""

    stem: str
    defines: Defines
    constants: tuple[tuple[str, int], ...]
    granted_nbytes: int = 0

    @property
    def title(self) -> str:
        """How messages name it: `norm (KIND=RMS) local_size_x=64 HELD_COLS=512`."""
        return " ".join((title(self.stem, self.defines), *(f"{name}={value}" for name, value in self.constants)))


@dataclass(frozen=True)
class KernelCall:
    """One dispatch, for any API. Everything has the name that the shader declares (see interface.py), in any order:

    buffers    by the name of a buffer's elements: what is bound there is the tensor's storage
    arguments  the members of its push_constant block, 32 bits each; a tensor stands for where it starts in what is
               bound for it, in elements (packed block types: in 32-bit words), which only the host knows
    grid       workgroups
    constants  its specialisation constants; `local_size_x` is the invocations of a workgroup, where they are not fixed
    granted_nbytes  of its largest array in shared memory, where a launch has to grant it; else 0
    """

    stem: str
    defines: Defines
    buffers: Buffers
    arguments: Arguments
    grid: tuple[int, int, int]
    constants: Constants = field(default_factory=dict)
    granted_nbytes: int = 0

    @property
    def code(self) -> KernelCode:
        return KernelCode(self.stem, self.defines, tuple(self.constants.items()), self.granted_nbytes)

    def moved(self, old: Node, new: Node) -> "KernelCall":
        """The call for another node alike, see runtime/ir/alike.py."""
        tensors = dict(zip((*old.inputs, *old.outputs), (*new.inputs, *new.outputs), strict=True))
        storages = {t.storage: other.storage for t, other in tensors.items()}

        def there(t: Tensor) -> Tensor:
            return tensors[t] if t in tensors else replace(t, storage=storages[t.storage])

        buffers = {name: there(t) for name, t in self.buffers.items()}
        arguments = {name: there(a) if isinstance(a, Tensor) else a for name, a in self.arguments.items()}
        return replace(self, buffers=buffers, arguments=arguments)


@dataclass(frozen=True)
class Kernel:
    """One way to run an op. `rule` says what the operands' declarations (see operands.py) cannot: "" or what the kernel
    does not take, in a line. `options`: those of the op (see ops/op.py) that it knows."""

    op: str
    takes: Operands
    gives: Operands
    lower: Callable[[Node, Features], KernelCall]
    variants: Iterable[Variant]
    rule: Callable[[Node, Features], str] = lambda _node, _features: ""
    options: frozenset[str] = frozenset()

    def refuses(self, node: Node, features: Features) -> str:
        """Empty when the kernel runs the node; otherwise what it cannot take, in a line."""
        if unknown := OPS[self.op].options_of(node.attrs) - self.options:
            return f"knows no {' or '.join(sorted(unknown))}"
        return refusal(self.takes, self.gives, node) or self.rule(node, features)


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


def placed(name: str, t: Tensor, axes: str = "") -> Arguments:
    """Where a tensor starts, as NAME_at, and its strides along the first axes, as NAME_AXIS each."""
    return strides(name, (t, *t.layout.strides), f"at {axes}")


def strides(name: str, values: Iterable[Argument], axes: str) -> Arguments:
    """Of the first axes, as NAME_AXIS each; what the rest have the shader knows."""
    return dict(zip(_names(name, axes), values, strict=False))


@functools.cache
def _names(name: str, axes: str) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in axes.split())
