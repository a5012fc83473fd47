"""What experts with biases or units of their own do between their products: gated units, and the weighted sum."""

from ...runtime.ir.composites import GLUS
from ...runtime.ir.graph import Node
from ..kernel import Argument, Features, Kernel, KernelCall, grid_of, placed
from ..matmul.mul_mat_args import ceil_div
from ..operands import FLOATS, INTS

KINDS = tuple(GLUS)  # as experts_glu.comp counts them
SUMS = (), ("residual",), ("residual", "ids", "down_bias")
_ROWS = FLOATS.rows


def _lower_glu(node: Node, features: Features) -> KernelCall:
    (gate, up, ids, gate_bias, up_bias), (y,) = node.inputs, node.outputs
    (n, k, n_cols), run = gate.shape, _run(features)
    arguments: dict[str, Argument] = {
        **dict(n_tokens=n, n_slots=k, n_experts=gate_bias.shape[0], n_cols=n_cols),
        **placed("gate", gate, "token slot"),
        **placed("up", up, "token slot"),
        **placed("ids", ids, "token slot"),
        **placed("gate_bias", gate_bias, "expert"),
        **placed("up_bias", up_bias, "expert"),
        **placed("y", y, "token slot"),
    }
    buffers = dict(gate=gate, up=up, ids=ids, gate_bias=gate_bias, up_bias=up_bias, y=y)
    constants = {"local_size_x": 64, "RUN": run, "GLU": KINDS.index(node.attrs.get("activation", "silu"))}
    return KernelCall("experts_glu", (), buffers, arguments, grid_of(n * k * ceil_div(n_cols, run)), constants)


def _lower_sum(node: Node, features: Features) -> KernelCall:
    """What is not there another tensor stands in for, which is not read."""
    (routed, weights, *more), (y,) = node.inputs, node.outputs
    (n, k, n_cols), run = routed.shape, _run(features)
    given = dict(zip(node.attrs["extra"], more, strict=True))
    residual, ids, bias = given.get("residual", weights), given.get("ids", weights), given.get("down_bias", weights)
    arguments: dict[str, Argument] = {
        **dict(n_tokens=n, n_slots=k, n_experts=bias.shape[0], n_cols=n_cols),
        **placed("routed", routed, "token slot"),
        **placed("factors", weights, "token slot"),
        **placed("residual", residual, "token"),
        **placed("ids", ids, "token slot"),
        **placed("bias", bias, "expert"),
        **placed("y", y, "token"),
    }
    buffers = dict(routed=routed, factors=weights, residual=residual, ids=ids, bias=bias, y=y)
    has = {"RESIDUAL": int("residual" in given), "BIASED": int("down_bias" in given)}
    constants = {"local_size_x": 64, "RUN": run, **has}
    return KernelCall("experts_sum_alone", (), buffers, arguments, grid_of(n * ceil_div(n_cols, run)), constants)


def _run(features: Features) -> int:
    """Columns a workgroup."""
    return 1024 if features.software else 64


def _alone(node: Node, _features: Features) -> str:
    extra = node.attrs.get("extra")
    return "" if extra in SUMS else f"{extra}, expected one of {SUMS}"


_SUM = {"routed": _ROWS, "weights": FLOATS, "residual?": _ROWS, "ids?": INTS, "down_bias?": _ROWS}
KERNELS = (
    Kernel(
        "experts_glu",
        {"gate": _ROWS, "up": _ROWS, "ids": INTS, "gate_bias": _ROWS, "up_bias": _ROWS},
        {"y": _ROWS},
        _lower_glu,
        (("experts_glu", ()),),
        options=frozenset({"activation"}),
    ),
    Kernel(
        "experts_sum",
        _SUM,
        {"y": _ROWS},
        _lower_sum,
        (("experts_sum_alone", ()),),
        _alone,
        frozenset({"residual", "ids", "down_bias"}),
    ),
)
