"""Kernels of the mixture of experts: routing, the experts' gate and up, their weighted sum."""

from collections.abc import Iterator
from dataclasses import replace

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.rows import SUBGROUPS, both_reductions, row_call, row_strides, rows
from ..common.walk import fast_div_words
from ..kernel import Argument, Constants, Features, Kernel, KernelCall, Variant, grid_of, placed, strides
from ..matmul.dots import defines, form_of, has_form, local_of, most_tokens, row_words, variants
from ..matmul.matrices import takes_experts
from ..matmul.mul_mat_args import ceil_div
from ..matmul.mul_mats import for_subgroups
from ..matmul.wide import PIECE, wide_experts, wide_joined
from ..operands import FLOATS, INTS, WEIGHTS

TOKENS_FOR_DOTS = 2  # of experts' way down

MAX_PICKED, MAX_EXPERTS, MAX_GROUPS = 32, 1024, 64
MOST_HELD = 32  # columns of a lane of pick.glsl
MOST_ROUTED = 2  # tokens for which each workgroup picks experts itself
_BIAS = (("BIAS", ""),)
_WAYS_TO_ROUTE = frozenset({"bias", "score", "normalise", "scale", "n_groups", "n_groups_used"})
SECOND_TYPES = (DType.F32, DType.F16, DType.Q8_0)
GROUP = 32  # elements that the kernels multiply at a time


def _pairs() -> Iterator[tuple[DType, DType]]:
    """Types of the experts and of the shared one that occur: alike, or the shared one more precise."""
    for t in WEIGHTS.dtypes:
        yield t, t
        if not t.is_rare:
            yield from ((t, s) for s in SECOND_TYPES if s is not t and (t.is_quantised or s is DType.F32))


PAIRS = frozenset(_pairs())


def _picks_few(node: Node, _features: Features) -> str:
    k = node.attrs["k"]
    return f"k {k}, expected at most {MAX_PICKED}" if k > MAX_PICKED else ""


def _one_subgroup(node: Node, features: Features, dtype: DType) -> str:
    """Does a subgroup of a kernel with weights of this type hold a row of logits?"""
    if why := for_subgroups(features, dtype) or _picks_few(node, features):
        return why
    n, k, size = node.inputs[0].shape[1], node.attrs["k"], features.subgroup_size
    fits = k <= size <= 64 and n <= MOST_HELD * size
    return "" if fits else f"{k} of {n} columns, expected few enough for subgroups of {size}"


def _lower_route(node: Node, features: Features) -> KernelCall:
    (x,), (ids, weights) = node.inputs, node.outputs
    arguments = {**rows({"x": x}), **row_strides("ids", ids), **row_strides("y", weights), "k": node.attrs["k"]}
    return row_call(("route", ()), {"x": x, "ids": ids, "y": weights}, features, arguments)


def _routes(node: Node, _features: Features) -> str:
    """Any way to route."""
    n_groups = node.attrs.get("n_groups", 1)
    few = f"{n_groups} groups, expected at most {MAX_GROUPS}" if n_groups > MAX_GROUPS else ""
    return few or _picks_few(node, _features)


def _lower_scores(node: Node, features: Features) -> KernelCall:
    (x, *bias), (ids, weights), attrs = node.inputs, node.outputs, node.attrs
    numbers = dict(k=attrs["k"], scale=float(attrs.get("scale", 1)))
    numbers |= {name: attrs.get(name, 1) for name in ("n_groups", "n_groups_used")}
    arguments = {**rows({"x": x}), **row_strides("ids", ids), **row_strides("y", weights), **numbers}
    buffers = {"x": x, "ids": ids, "y": weights}
    if bias:
        buffers, arguments = buffers | {"bias": bias[0]}, arguments | {"bias_at": bias[0]}
    call = row_call(("route_scores", _BIAS if bias else ()), buffers, features, arguments)
    ways = {"SIGMOID": int(attrs.get("score") == "sigmoid"), "NORMALISE": int(attrs.get("normalise", True))}
    return replace(call, constants={**call.constants, **ways})


def _fits(first: Tensor, second: Tensor, ids: Tensor, features: Features) -> str:
    """Experts and the shared one of types that have a variant, and few tokens."""
    (n_tokens, n_slots), most = ids.shape, most_tokens(features)
    if n_tokens > most:
        return f"{n_tokens} tokens, expected at most {most}"
    if takes_experts(first, n_tokens, n_slots, features):
        return f"{n_tokens} tokens, better by matrices"
    fits = (first.dtype, second.dtype) in PAIRS
    return "" if fits else f"experts of {first.dtype.name} with a shared one of {second.dtype.name}"


def _gate_up_fits(node: Node, features: Features) -> str:
    _, gate, _, ids, shared_gate, _ = node.inputs
    return _fits(gate, shared_gate, ids, features)


def _lower_gate_up(node: Node, features: Features) -> KernelCall:
    (x, gate, up, ids, shared_gate, shared_up), (y, shared_y) = node.inputs, node.outputs
    (n, k), (n_experts, n_rows, n_inner) = ids.shape, gate.shape
    arguments: dict[str, Argument] = {
        **dict(n_tokens=n, n_slots=k, n_experts=n_experts, n_inner=n_inner),
        **dict(n_rows=n_rows, n_rows_shared=shared_gate.shape[0]),
        **placed("x", x, "token"),
        **placed("ids", ids, "token slot"),
        **placed("y", y, "token slot"),
        **placed("shared_y", shared_y, "token"),
    }
    weights = {"gate": gate, "up": up, "shared_gate": shared_gate, "shared_up": shared_up}
    for name, w in weights.items():
        arguments |= strides(name, (w, *row_words(w)), "at row expert")
    buffers = {f"w{i}": w for i, w in enumerate(weights.values())} | {"x": x, "ids": ids, "y": y, "shared_y": shared_y}
    groups, constants = _gate_up_tile(node, features)
    flags = defines(gate.dtype, shared_gate.dtype, form_of(features, gate, shared_gate))
    return KernelCall("experts_gate_up", flags, buffers, arguments, grid_of(groups), constants)


def _without_route(node: Node) -> Node:
    """experts_gate_up with the ids that a node of route_gate_up gives out."""
    (_, x, *experts), (y, shared_y, ids, _) = node.inputs, node.outputs
    ins = (x, *experts[:2], ids, *experts[2:])
    return replace(node, op="experts_gate_up", inputs=ins, outputs=(y, shared_y), attrs={})


def _routed_fits(node: Node, features: Features) -> str:
    (n, n_logits), n_experts = node.inputs[0].shape, node.inputs[2].shape[0]
    if n > MOST_ROUTED:
        return f"{n} tokens, better routed apart"
    if n_logits != n_experts:
        return f"{n_logits} logits, expected one for each of {n_experts} experts"
    route = replace(node, op="route", inputs=node.inputs[:1], outputs=node.outputs[2:])
    return _one_subgroup(route, features, node.inputs[2].dtype) or _gate_up_fits(_without_route(node), features)


def _lower_routed(node: Node, features: Features) -> KernelCall:
    logits, (*_, weights) = node.inputs[0], node.outputs
    call = _lower_gate_up(_without_route(node), features)
    placing = {**placed("logits", logits, "token"), **placed("factors", weights, "token slot")}
    return replace(
        call,
        defines=(*call.defines, ("ROUTE", "")),
        buffers={**call.buffers, "logits": logits, "factors": weights},
        arguments={**call.arguments, **placing},
        constants={**call.constants, "PER": ceil_div(logits.shape[1], features.subgroup_size)},
    )


def _gate_up_tile(node: Node, features: Features) -> tuple[int, Constants]:
    """Workgroups, and the constants that say what each does."""
    x, gate, up, ids, shared_gate, shared_up = node.inputs
    (n, k), n_inner, form = ids.shape, x.shape[1], form_of(features, gate, shared_gate)

    def n_groups(rows: int, run: int = 1) -> int:
        """Of so many rows of gate and up a tile, and tiles a workgroup."""
        return n * (
            ceil_div(k * ceil_div(gate.shape[1], rows), run) + ceil_div(ceil_div(shared_gate.shape[0], rows), run)
        )

    if "WIDE" in form:
        tile = wide_experts(n_inner, features, gate.dtype)
        n_tiles = k * ceil_div(gate.shape[1], tile.tile_rows // 2)
        run = tile.run_of_experts(n_tiles, n)
        constants = tile.spec((gate, up, shared_gate, shared_up), (x,), features, run)
        return n_groups(tile.tile_rows // 2, run), constants
    local = local_of(n_inner, features)
    return n_groups(local if "LANES" in form else 1), {"local_size_x": local, "ROWS": 2, "COLS": 1}


def _down_fits(node: Node, features: Features) -> str:
    _, down, ids, _, _, shared_down, _, _ = node.inputs
    return _fits(down, shared_down, ids, features)


def _lower_down(node: Node, features: Features) -> KernelCall:
    (hidden, down, ids, weights, shared, shared_down, shared_gate, residual), (y,) = node.inputs, node.outputs
    (n, k), (tile, constants), form = ids.shape, _down_tile(node, features), _down_form(node, features)
    arguments = {
        **dict(n_tokens=n, n_slots=k, n_experts=down.shape[0], n_rows=down.shape[1]),
        **dict(n_inner_experts=hidden.shape[2], n_inner_shared=shared.shape[1]),
        **strides("down", (down, *row_words(down)), "at row expert"),
        **strides("shared_down", (shared_down, *row_words(shared_down)), "at row"),
        **placed("hidden", hidden, "token slot"),
        **placed("shared", shared, "token"),
        **placed("ids", ids, "token slot"),
        **placed("factors", weights, "token slot"),
        **placed("gate", shared_gate, "token"),
        **placed("residual", residual, "token"),
        **placed("y", y, "token"),
        **dict(zip(("per_magic", "per_shift"), fast_div_words(max(1, hidden.shape[2] // PIECE)), strict=True)),
    }
    buffers = {
        **dict(w0=down, w1=shared_down, hidden=hidden, shared_hidden=shared, ids=ids),
        **dict(factors=weights, shared_gate=shared_gate, residual=residual, y=y),
    }
    flags, stem = (
        defines(down.dtype, shared_down.dtype, form),
        "experts_down_wide" if "WIDE" in form else "experts_down",
    )
    constants = {**constants, "OPEN": 0}
    return KernelCall(stem, flags, buffers, arguments, grid_of(n * ceil_div(down.shape[1], tile)), constants)


def _down_form(node: Node, features: Features) -> tuple[str, ...]:
    """Joined, no row is short. Each number of x meets few rows: making integers of it pays in batches alone."""
    down, ids, shared_down = (node.inputs[i] for i in (1, 2, 5))
    form = tuple(flag for flag in form_of(features) if flag != "SUBGROUPS")
    dots = features.int_dot and ids.shape[0] >= TOKENS_FOR_DOTS and "WIDE" in form
    return (*form, "DOT") if dots and has_form(("WIDE", "DOT"), down.dtype, shared_down.dtype) else form


def _down_tile(node: Node, features: Features) -> tuple[int, Constants]:
    """Rows a workgroup, and the constants that say so."""
    hidden, down, ids, _, shared, shared_down, *_ = node.inputs
    if "WIDE" in _down_form(node, features):
        n_inner = ids.shape[1] * hidden.shape[2] + shared.shape[1]
        tile = wide_joined(down.shape[1], n_inner, ids.shape[0], features, down.dtype)
        return tile.tile_rows, tile.spec((down, shared_down), (hidden, shared), features)
    local = local_of(4 * hidden.shape[2], features)  # an octet of an expert's row an invocation, or two
    return local if "LANES" in form_of(features) else 1, {"local_size_x": local, "ROWS": 1, "COLS": 1}


def _down_variants() -> tuple[Variant, ...]:
    made = ((stem, d) for stem, d in variants("experts_down", _pairs()) if ("SUBGROUPS", "") not in d)
    return tuple(("experts_down_wide", d) if ("WIDE", "") in d else (stem, d) for stem, d in made)


def _lower_sum(node: Node, features: Features) -> KernelCall:
    """A workgroup a token and a run of its columns."""
    (routed, weights, shared, gate, residual), (y,) = node.inputs, node.outputs
    n, k, e = routed.shape
    local, run = 64, 1024 if features.software else 64
    arguments = {
        **dict(n_tokens=n, n_slots=k, n_cols=e),
        **placed("routed", routed, "token slot col"),
        **placed("factors", weights, "token slot"),
        **placed("shared", shared, "token col"),
        **placed("gate", gate, "token"),
        **placed("residual", residual, "token col"),
        **placed("y", y, "token col"),
    }
    buffers = {"routed": routed, "factors": weights, "shared_y": shared, "gate": gate, "residual": residual, "y": y}
    constants = {"local_size_x": local, "RUN": run}
    return KernelCall("experts_sum", (), buffers, arguments, grid_of(n * ceil_div(e, run)), constants)


_W = WEIGHTS.rows.axis(-1, least=GROUP, multiple=GROUP)
_ROWS = FLOATS.rows


def _lower_lists(node: Node, features: Features) -> KernelCall:
    (ids,), (lists,) = node.inputs, node.outputs
    (n, k), n_experts = ids.shape, node.attrs["n_experts"]
    local = 8 if features.software else min(256, features.max_workgroup)
    arguments = {
        "n_tokens": n,
        "n_slots": k,
        "n_experts": n_experts,
        "lists_at": lists,
        **placed("ids", ids, "token slot"),
    }
    buffers = {"ids": ids, "lists": lists}
    return KernelCall("expert_lists", (), buffers, arguments, grid_of(n_experts), {"local_size_x": local})


_GATE_UP = {
    "x": _ROWS,
    "gate": _W,
    "up": _W.typed_as("gate"),
    "ids": INTS,
    "shared_gate": _W,
    "shared_up": _W.typed_as("shared_gate"),
}
_ROUTED_VARIANTS = [
    (stem, (*d, ("ROUTE", "")))
    for stem, d in variants("experts_gate_up", _pairs())
    if {"WIDE", "SUBGROUPS"} & {name for name, _ in d}
]

KERNELS = (
    Kernel("expert_lists", {"ids": INTS}, {"lists": INTS.contiguous}, _lower_lists, (("expert_lists", ()),)),
    Kernel(
        "route",
        {"logits": FLOATS.axis(1, most=MAX_EXPERTS)},
        {"ids": INTS, "weights": FLOATS},
        _lower_route,
        (("route", ()), ("route", SUBGROUPS)),
        _picks_few,
    ),
    Kernel(
        "route",
        {"logits": FLOATS.axis(1, most=MAX_EXPERTS), "bias?": FLOATS.contiguous},
        {"ids": INTS, "weights": FLOATS},
        _lower_scores,
        both_reductions(("route_scores", ()), ("route_scores", _BIAS)),
        _routes,
        _WAYS_TO_ROUTE,
    ),
    Kernel(
        "experts_gate_up",
        _GATE_UP,
        {"y": _ROWS, "shared_y": _ROWS},
        _lower_gate_up,
        variants("experts_gate_up", _pairs()),
        _gate_up_fits,
    ),
    Kernel(
        "route_gate_up",
        {"logits": _ROWS.axis(1, most=MAX_EXPERTS)} | {name: o for name, o in _GATE_UP.items() if name != "ids"},
        {"y": _ROWS, "shared_y": _ROWS, "ids": INTS, "weights": FLOATS},
        _lower_routed,
        _ROUTED_VARIANTS,
        _routed_fits,
    ),
    Kernel(
        "experts_down",
        {
            "hidden": _ROWS,
            "down": _W,
            "ids": INTS,
            "weights": FLOATS,
            "shared": _ROWS,
            "shared_down": _W,
            "shared_gate": FLOATS,
            "residual": _ROWS,
        },
        {"y": _ROWS},
        _lower_down,
        _down_variants(),
        _down_fits,
    ),
    Kernel(
        "experts_sum",
        {"routed": FLOATS, "weights": FLOATS, "shared": FLOATS, "shared_gate": FLOATS, "residual": FLOATS},
        {"y": FLOATS},
        _lower_sum,
        (("experts_sum", ()),),
    ),
)
