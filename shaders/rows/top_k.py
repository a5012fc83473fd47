"""Kernels that find the largest of each row: of whole rows, of parts of long ones, and among what the parts gave."""

from dataclasses import replace

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.rows import PLAIN_LANES, both_reductions, lanes_of_row, n_rows_of, row_call, rows
from ..kernel import Arguments, Buffers, Constants, Defines, Features, Kernel, KernelCall, grid_of
from ..operands import FLOATS, INTS

KEPT, GROUPS = 1024, 128  # of top_k.comp
ROUNDS = 2  # of a long row, each of which looks through all of it
AT_ONCE = 16  # columns an invocation asks for together
LONG_PART = 1024  # a CPU, where a row is one thread's, takes longer rows whole
_PARTS: Defines = (("PARTS", ""),)
_AMONG: Defines = (("AMONG", ""),)


def _lanes(features: Features) -> int:
    return 8 if features.software else min(1024, 1 << features.max_workgroup.bit_length() - 1)


def _at_once(n_cols: int, lanes: int, features: Features) -> int:
    return 1 if features.software else min(AT_ONCE, -(-n_cols // lanes))


def _constants(n_cols: int, lanes: int, k: int, features: Features) -> Constants:
    """Of top_k.comp. Twice as many groups as are wanted: then some 1.4 k columns reach the k-th best of theirs."""
    quick, at_once = lanes >= GROUPS >= 2 * k, _at_once(n_cols, lanes, features)
    held = quick and n_cols <= lanes * at_once
    return {"local_size_x": lanes, "AT_ONCE": at_once, "QUICK": int(quick), "HELD": int(held)}


def _named(node: Node) -> dict[str, Tensor]:
    return {"x": node.inputs[0], "y": node.outputs[0]}


# whole rows


def _is_few(node: Node, features: Features) -> str:
    n, k = node.inputs[0].shape[-1], node.attrs["k"]
    few = (n <= 1024 and k <= 32) or k <= (8 if features.software else ROUNDS)
    return "" if few else f"k {k} of rows of {n}: not few"


def _lower_few(node: Node, features: Features) -> KernelCall:
    """Short rows are held in the registers of one subgroup, which needs no barrier."""
    xy = _named(node)
    call = row_call(("top_k_few", ()), xy, features, {**rows(xy), "k": node.attrs["k"]})
    return replace(call, constants={**call.constants, "AT_ONCE": 1 if features.software else AT_ONCE})


def _is_kept(node: Node, _features: Features) -> str:
    k = node.attrs["k"]
    return f"k {k}, at most {KEPT}" if k > KEPT else ""


def _lower_whole(node: Node, features: Features) -> KernelCall:
    xy, k = _named(node), node.attrs["k"]
    arguments, n = {**rows(xy), "k": k}, xy["x"].shape[-1]
    constants = _constants(n, _lanes(features), k, features)
    return KernelCall("top_k", (), xy, arguments, grid_of(n_rows_of(xy["x"])), constants)


# parts of rows


def _is_part(node: Node, features: Features) -> str:
    n = node.attrs["n_part"]
    return f"parts of {n} on a CPU" if features.software and n > LONG_PART else _is_kept(node, features)


def _is_few_of_part(node: Node, features: Features) -> str:
    k = node.attrs["k"]
    return f"k {k}: not few" if k > ROUNDS else _is_part(node, features)


def _parts(node: Node) -> tuple[Buffers, Arguments, tuple[int, int, int]]:
    xy, n_part = _named(node), node.attrs["n_part"]
    n_parts = -(-xy["x"].shape[-1] // n_part)
    arguments = {**rows(xy), "k": node.attrs["k"], "n_part": n_part, "n_parts": n_parts}
    return xy, arguments, grid_of(n_rows_of(xy["x"]) * n_parts)


def _lower_few_of_part(node: Node, features: Features) -> KernelCall:
    (xy, arguments, grid), n = _parts(node), node.attrs["n_part"]
    call = row_call(("top_k_few", _PARTS), xy, features, arguments)
    lanes = min(PLAIN_LANES, lanes_of_row(n, features))
    constants = {"local_size_x": lanes, "HELD_COLS": 0, "KNOWN_COLS": 0, "AT_ONCE": _at_once(n, lanes, features)}
    return replace(call, grid=grid, constants=constants)


def _lower_part(node: Node, features: Features) -> KernelCall:
    (xy, arguments, grid), n = _parts(node), node.attrs["n_part"]
    constants = _constants(n, _lanes(features), node.attrs["k"], features)
    return KernelCall("top_k", _PARTS, xy, arguments, grid, constants)


# among ids


def _lower_one_among(node: Node, features: Features) -> KernelCall:
    (x, ids), y = node.inputs, node.outputs[0]
    buffers = {"ids": ids, "x": x, "y": y}
    arguments = {**rows(buffers), "k": node.attrs["k"], "n_x": x.shape[-1]}
    call = row_call(("top_k_few", _AMONG), buffers, features, arguments)
    return replace(call, constants={**call.constants, "AT_ONCE": 1 if features.software else AT_ONCE})


def _lower_among(node: Node, features: Features) -> KernelCall:
    (x, ids), y, k = node.inputs, node.outputs[0], node.attrs["k"]
    buffers, n = {"x": x, "y": y, "ids": ids}, ids.shape[-1]
    constants = _constants(n, _lanes(features), k, features)
    return KernelCall("top_k", _AMONG, buffers, {**rows(buffers), "k": k, "n_ids": n}, grid_of(n_rows_of(x)), constants)


def _is_one(node: Node, _features: Features) -> str:
    k = node.attrs["k"]
    return f"k {k}, expected 1" if k > 1 else ""


_X, _IDS = {"x": FLOATS}, {"ids": INTS}
_XY, _AMONG_OPERANDS = (_X, _IDS), ({"x": FLOATS, "ids": INTS.axis(-1, most=KEPT)}, {"best": INTS})
_FEW_PARTS, _ONE_AMONG = (both_reductions(("top_k_few", d)) for d in (_PARTS, _AMONG))

KERNELS = (
    Kernel("top_k", *_XY, _lower_few, both_reductions(("top_k_few", ())), _is_few),
    Kernel("top_k", *_XY, _lower_whole, (("top_k", ()),), _is_kept),
    Kernel("top_k_parts", *_XY, _lower_few_of_part, _FEW_PARTS, _is_few_of_part),
    Kernel("top_k_parts", *_XY, _lower_part, (("top_k", _PARTS),), _is_part),
    Kernel("top_k_among", *_AMONG_OPERANDS, _lower_one_among, _ONE_AMONG, _is_one),
    Kernel("top_k_among", *_AMONG_OPERANDS, _lower_among, (("top_k", _AMONG),)),
)
