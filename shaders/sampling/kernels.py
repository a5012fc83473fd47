"""Kernels that choose the next token and move the step buffer on to it."""

from ...runtime.ir.graph import Node
from ..kernel import Arguments, Buffers, Defines, Features, Kernel, KernelCall, fills_subgroup, grid_of, placed
from ..operands import FLOATS, INTS

MASKED = 128  # logits of a workgroup
CANDIDATES = 1024  # draw.comp has room for so many


def _a_row_each(tensors: Buffers) -> Arguments:
    """Where each starts, and its stride from sequence to sequence."""
    return {name: value for key, t in tensors.items() for name, value in placed(key, t, "seq").items()}


def _lower_draw(node: Node, features: Features) -> KernelCall:
    logits, ids, settings, pos = node.inputs
    buffers = {"logits": logits, "ids": ids, "settings": settings, "pos": pos, "token": node.outputs[0]}
    n_seqs, n_vocab = logits.shape
    sizes = {"n_seqs": n_seqs, "n_vocab": n_vocab, "n_ids": ids.shape[1]}
    constants = {"local_size_x": fills_subgroup(features)}
    return KernelCall("draw", (), buffers, {**sizes, **_a_row_each(buffers)}, grid_of(n_seqs), constants)


def _lower_mask(node: Node, _features: Features) -> KernelCall:
    (logits, mask), (y,) = node.inputs, node.outputs
    buffers = {"logits": logits, "mask": mask, "y": y}
    n_seqs, n_vocab = logits.shape
    sizes = {"n_seqs": n_seqs, "n_vocab": n_vocab}
    groups = n_seqs * -(-n_vocab // MASKED)
    return KernelCall("mask_tokens", (), buffers, {**sizes, **_a_row_each(buffers)}, grid_of(groups))


def _lower_advance(node: Node, _features: Features) -> KernelCall:
    (logits, token, *_), (ids, pos, rows, ring, *window_rows) = node.inputs, node.outputs
    buffers = {"logits": logits, "token": token, "ids": ids, "pos": pos, "rows": rows, "ring": ring}
    n_seqs, n_vocab = logits.shape
    sizes = {"n_seqs": n_seqs, "n_vocab": n_vocab, "n_ring": ring.shape[1]}
    for t in window_rows:
        buffers["window_rows"], sizes["n_window_rows"] = t, node.attrs.get("n_window_rows", 0)
    arguments = {**sizes, **_a_row_each(buffers), "ring_place": ring.layout.strides[1]}
    return KernelCall("advance", _WINDOWS if window_rows else (), buffers, arguments, (1, 1, 1))


_ADVANCED = {"ids": INTS, "pos": INTS, "rows": INTS, "ring": INTS, "window_rows?": INTS}
_WINDOWS: Defines = (("WINDOWS", ""),)

KERNELS = (
    Kernel(
        "mask_tokens",
        {"logits": FLOATS.rows, "mask": INTS.rows},
        {"y": FLOATS.rows},
        _lower_mask,
        (("mask_tokens", ()),),
    ),
    Kernel(
        "draw",
        {"logits": FLOATS.rows, "ids": INTS.rows.axis(-1, most=CANDIDATES), "settings": INTS.rows, "pos": INTS},
        {"token": INTS},
        _lower_draw,
        (("draw", ()),),
    ),
    Kernel(
        "advance",
        {"logits": FLOATS.rows, "token": INTS, **_ADVANCED},
        _ADVANCED,
        _lower_advance,
        (("advance", ()), ("advance", _WINDOWS)),
        options=frozenset({"n_window_rows"}),
    ),
)
