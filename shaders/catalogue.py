"""The catalogue: which kernels run which op, tried in order, and every SPIR-V variant they are made of."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..runtime.errors import BackendError
from ..runtime.ir.alike import Alike
from ..runtime.ir.graph import Node
from .attention import attention_matrix
from .attention import kernels as attention
from .common.choose_grid import CHOOSE_GRID
from .compile import available
from .copies import kernels as copies
from .elementwise import kernels as elementwise
from .kernel import ARGUMENTS_NBYTES, MAX_GROUPS, Features, Kernel, KernelCall, Variant
from .matmul import kernels as matmul
from .moe import apart, unshared
from .moe import kernels as moe
from .recurrent import kernels as recurrent
from .rows import kernels as rows
from .sampling import kernels as sampling

FAMILIES = (attention, copies, elementwise, matmul, moe, unshared, apart, recurrent, rows, sampling)

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


def lower(node: Node, features: Features) -> KernelCall | None:
    """The dispatch for a node that refusal() finds nothing against; None where there is nothing to do."""
    if all(t.layout.n_elements == 0 for t in node.outputs):
        return None
    kernel = next(k for k in KERNELS[node.op] if not k.refuses(node, features))
    call = kernel.lower(node, features)
    assert 4 * len(call.arguments) <= ARGUMENTS_NBYTES and max(call.grid) <= MAX_GROUPS, call
    return call if min(call.grid) else None


def lower_all(nodes: Iterable[Node], features: Features) -> Iterator[KernelCall | None]:
    """lower() of each, of nodes alike done once. BackendError names the first node that no kernel runs."""
    alike, made = Alike(), {}
    for node in nodes:
        key = alike.key(node)
        if key not in made:
            if reason := refusal(node, features):
                raise BackendError(f"{node.name or node.op}: {reason}")
            made[key] = node, lower(node, features)
        of, call = made[key]
        yield call.moved(of, node) if call and of is not node else call


def usable(features: Features) -> Features:
    """What of a device's features kernels can use here: cooperative matrices take shaders that only a newer glslang
    compiles, and no kernel in their place is as fast as those for devices without them."""
    has_matrices = features.cooperative_matrix and available(*attention_matrix.VARIANTS[0])
    return features if has_matrices else replace(features, cooperative_matrix=())


def variants() -> Iterator[Variant]:
    """Every variant, each once, for the wheel's build."""
    yield CHOOSE_GRID
    yield from dict.fromkeys(v for kernels in KERNELS.values() for k in kernels for v in k.variants)
