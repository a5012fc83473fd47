"""The catalogue: which kernels run which op, tried in order, and every SPIR-V variant they are made of."""

from collections.abc import Iterator

from ..runtime.graph import Node
from . import (
    kernels_attention,
    kernels_blocks,
    kernels_copies,
    kernels_delta,
    kernels_elementwise,
    kernels_matmul,
    kernels_moe,
    kernels_projections,
    kernels_rows,
    kernels_sampling,
    kernels_sequence,
)
from .branches import CHOOSE_GRID
from .kernel import PUSH_NBYTES, Features, Kernel, KernelCall, Variant

FAMILIES = (
    kernels_attention,
    kernels_elementwise,
    kernels_copies,
    kernels_rows,
    kernels_matmul,
    kernels_blocks,
    kernels_sequence,
    kernels_sampling,
    kernels_delta,
    kernels_moe,
    kernels_projections,
)

KERNELS: dict[str, list[Kernel]] = {}
for _family in FAMILIES:
    for _kernel in _family.KERNELS:
        KERNELS.setdefault(_kernel.op, []).append(_kernel)


def refusal(node: Node, features: Features) -> str:
    """Empty when some kernel runs the node; otherwise why each one does not."""
    kernels = KERNELS.get(node.op, [])
    reasons = [k.refuses(node, features) for k in kernels]
    if not kernels:
        return f"[{node.op}] has no kernel"
    return "" if "" in reasons else f"[{node.op}] " + "; ".join(reasons)


def lower(node: Node, features: Features) -> KernelCall:
    """The dispatch for a node that refusal() finds nothing against."""
    kernel = next(k for k in KERNELS[node.op] if not k.refuses(node, features))
    call = kernel.lower(node, features)
    assert 4 * len(call.push) <= PUSH_NBYTES and all(0 < n < 65536 for n in call.grid), call
    return call


def variants() -> Iterator[Variant]:
    """Every variant, each once, for the wheel's build."""
    yield CHOOSE_GRID
    yield from dict.fromkeys(v for kernels in KERNELS.values() for k in kernels for v in k.variants)
