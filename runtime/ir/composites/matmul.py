"""Several products as one: the projections of one input."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..dtypes import DType
from ..editing import Editing, is_same, is_temp
from ..graph import Graph, Node
from ..ops.op import OPS, Op, OpKind, Out, Spec, Work, n_picked, register, require, require_dtype
from ..patterns import Fusion, make, maker, only_reader, readers, scope_of, stands
from ..tensor import Kind, Tensor

FEWEST_HALVED = 33  # tokens of an input: with fewer, weights and dispatches are what takes time
MAX_PROJECTIONS = 3  # of one input in one dispatch: input, weights and outputs are a binding each


def _mul_mats_infer(x: Tensor, *weights: Tensor) -> tuple[Spec, ...]:
    """x [N, K], weights [M_i, K] each -> [N, M_i] each: the projections of one input."""
    require_dtype("mul_mats", x, DType.F32)
    ok = x.ndim == 2 and all(w.ndim == 2 and w.shape[1] == x.shape[1] for w in weights)
    require(ok, "mul_mats", f"x {x.shape}, weights {[w.shape for w in weights]}")
    return tuple(Spec((x.shape[0], w.shape[0])) for w in weights)


def _work(x: Tensor, *weights: Tensor) -> Work:
    return Work(flops=2 * x.layout.n_elements * sum(w.shape[0] for w in weights))


register(
    Op(
        "mul_mats",
        _mul_mats_infer,
        lambda x, *weights: tuple(x @ np.asarray(w).T for w in weights),
        lambda g, x, *weights: tuple(g.mul_mat(w, x) for w in weights),
        OpKind.FUSED,
        work=_work,
    )
)


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """Products of one input with several weights, of one type or of a mix that there is a kernel for."""
    w, x, *halves = node.inputs
    if halves or w.ndim != 2 or x.ndim != 2 or w.storage.kind is not Kind.WEIGHT:
        return
    kin = [(j, n) for j, n in edit.users(x.storage, i) if stands(edit, j, n) and _projects(n, x)]
    for found in _sets(kin, w.dtype):
        if found[0][0] != i or edit.is_written(x, i, max(j for j, _ in found) + 1):
            continue
        outs = [n.outputs[0] for _, n in found]
        fused = make("mul_mats", (x, *(n.inputs[0] for _, n in found)), scope_of(node), outs)
        if edit.supports(fused):
            for j, _ in found:
                edit.remove(j)
            edit.put(i, fused)
            return


def _sets(kin: list[tuple[int, Node]], dtype: DType) -> list[list[tuple[int, Node]]]:
    """Products that could be one, larger sets first: those of the type, and after them those of one other."""
    types = list(dict.fromkeys(n.inputs[0].dtype for _, n in kin))
    by_type = {t: [(j, n) for j, n in kin if n.inputs[0].dtype is t] for t in types}
    alike = by_type.pop(dtype, [])  # none where the product itself cannot be joined
    found = [[*alike, *others][:MAX_PROJECTIONS] for others in ([], *by_type.values())]
    return sorted((s for s in found if len(s) > 1), key=len, reverse=True)


def _projects(n: Node, x: Tensor) -> bool:
    if n.op != "mul_mat" or len(n.inputs) != 2:
        return False
    w = n.inputs[0]
    return is_same(n.inputs[1], x) and w.ndim == 2 and w.storage.kind is Kind.WEIGHT and is_temp(n.outputs[0])


def _mul_mat_id_swiglu_infer(gate: Tensor, up: Tensor, x: Tensor, ids: Tensor, *more: Tensor) -> tuple[Out, ...]:
    """silu(gate_e x) * up_e x. gate, up [X, M, K], x [N, 1 or k, K], ids [N, k], their expert_lists, and where they are
    known the halves of x -> [N, k, M]."""
    require(
        gate.shape == up.shape and bool(more),
        "mul_mat_id_swiglu",
        f"gate {gate.shape}, up {up.shape}, {len(more)} more",
    )
    return OPS["mul_mat_id"].infer(gate, x, ids, *more)


def _mul_mat_id_swiglu(gate, up, x: np.ndarray, ids: np.ndarray, *_more: np.ndarray) -> tuple[np.ndarray, ...]:
    u, v = (OPS["mul_mat_id"].compute(w, x, ids)[0] for w in (gate, up))
    return OPS["swiglu"].compute(u, v)


def _swiglu_work(gate: Tensor, up: Tensor, _x: Tensor, ids: Tensor, *_more: Tensor) -> Work:
    n_picks = ids.layout.n_elements
    reads = {i: n_picked(w, ids) for i, w in enumerate((gate, up))}
    return Work(reads=reads, flops=4 * n_picks * gate.shape[1] * gate.shape[2])


register(
    Op(
        "mul_mat_id_swiglu",
        _mul_mat_id_swiglu_infer,
        _mul_mat_id_swiglu,
        lambda g, gate, up, x, ids, *_more: (g.swiglu(g.mul_mat_id(gate, x, ids), g.mul_mat_id(up, x, ids)),),
        OpKind.FUSED,
        work=_swiglu_work,
    )
)


def _fuse_experts(edit: Editing, i: int, node: Node) -> None:
    """The products of experts' gates and ups with the same rows, and swiglu of both."""
    found = [pair for t in node.inputs if (pair := maker(edit, t, "mul_mat_id", i))]
    if len(found) != 2 or not all(_is_for(edit, i, *pair) for pair in found):
        return
    (at, gate), (other, up) = found
    if at == other or not all(is_same(a, b) for a, b in zip(gate.inputs[1:], up.inputs[1:], strict=True)):
        return
    lists, is_new = _lists_of(edit, i, gate)
    ins = (gate.inputs[0], up.inputs[0], *gate.inputs[1:], lists.outputs[0])
    fused = make("mul_mat_id_swiglu", ins, scope_of(node), node.outputs)
    if edit.supports(lists) and edit.supports(fused):
        edit.remove(at)
        edit.remove(other)
        edit.put(i, *((lists,) if is_new else ()), fused)


def _is_for(edit: Editing, i: int, at: int, product: Node) -> bool:
    """Does the product serve the node at i alone, and could it stand there?"""
    alone = only_reader(edit, product.outputs[0], at, "swiglu") is not None and len(product.inputs) == 3
    return alone and not any(edit.is_written(t, at, i) for t in product.inputs)


def _list_experts(edit: Editing, i: int, node: Node) -> None:
    """A product of experts reads lists of each expert's rows."""
    if len(node.inputs) != 3:
        return
    lists, is_new = _lists_of(edit, i, node)
    product = replace(node, inputs=(*node.inputs, *lists.outputs))
    if edit.supports(lists) and edit.supports(product):
        edit.put(i, *((lists,) if is_new else ()), product)


def _lists_of(edit: Editing, i: int, product: Node) -> tuple[Node, bool]:
    """The lists of a product's ids, which those with the same ids share, and whether they are yet to be put."""
    w, ids = product.inputs[0], product.inputs[2]
    made = next((n for j, n in edit.users(ids.storage, 0, i) if _lists(edit, j, n, ids, w.shape[0], i)), None)
    return made or make("expert_lists", (ids,), scope_of(product), n_experts=w.shape[0]), made is None


def _lists(edit: Editing, at: int, node: Node, ids: Tensor, n_experts: int, i: int) -> bool:
    """Are these still the lists of the ids at position i?"""
    same = node.op == "expert_lists" and is_same(node.inputs[0], ids) and node.attrs["n_experts"] == n_experts
    return same and not edit.is_written(ids, at, i)


def _norm_mul_mats_infer(x: Tensor, norm: Tensor, *weights: Tensor, eps: float) -> tuple[Spec, ...]:
    """h = rms_norm(x) * norm and its projections. x [N, K], norm [K], weights [M_i, K] -> h [N, K], [N, M_i] each."""
    require(norm.shape == x.shape[1:], "norm_mul_mats", f"rows of {x.shape}, norm {norm.shape}")
    return Spec(x.shape), *_mul_mats_infer(x, *weights)


def _norm_mul_mats(x: np.ndarray, norm: np.ndarray, *weights: Any, eps: float) -> tuple[np.ndarray, ...]:
    (normed,) = OPS["rms_norm_scale"].compute(x, norm, eps=eps)
    return normed, *(normed @ np.asarray(w).T for w in weights)


def _norm_mul_mats_parts(g: Graph, x: Tensor, norm: Tensor, *weights: Tensor, eps: float) -> tuple[Tensor, ...]:
    normed = g.rms_norm_scale(x, norm, eps)
    return normed, *(g.mul_mat(w, normed) for w in weights)


register(
    Op(
        "norm_mul_mats",
        _norm_mul_mats_infer,
        _norm_mul_mats,
        _norm_mul_mats_parts,
        OpKind.FUSED,
        work=lambda x, _norm, *weights, eps: _work(x, *weights),
    )
)


def _fuse_norm(edit: Editing, i: int, node: Node) -> None:
    """A norm and the first projections of what it makes, which give it to its other readers."""
    (x, norm), (normed,) = node.inputs, node.outputs
    found = readers(edit, normed, i)
    if not found or found[0][1].op != "mul_mats" or not stands(edit, *found[0]):
        return
    at, product = found[0]
    of, *weights = product.inputs
    if not is_same(of, normed) or edit.is_written(x, i, at):
        return
    outs = (normed, *product.outputs)
    fused = make("norm_mul_mats", (x, norm, *weights), scope_of(product), outs, eps=node.attrs["eps"])
    if edit.supports(fused):
        edit.remove(i)
        edit.put(at, fused)


def _mul_mat_add_infer(w: Tensor, x: Tensor, residual: Tensor) -> tuple[Spec, ...]:
    """residual + x w^T. w [M, K], x [N, K], residual [N, M] -> [N, M]."""
    (out,) = _mul_mats_infer(x, w)
    require(residual.shape == out.shape, "mul_mat_add", f"a product of {out.shape}, residual {residual.shape}")
    return (out,)


register(
    Op(
        "mul_mat_add",
        _mul_mat_add_infer,
        lambda w, x, residual: (residual + x @ np.asarray(w).T,),
        lambda g, w, x, residual: (g.add(residual, g.mul_mat(w, x)),),
        OpKind.FUSED,
        work=lambda w, x, _residual: _work(x, w),
    )
)


def _fuse_add(edit: Editing, i: int, node: Node) -> None:
    """A product and the residual that it is added to, or the bias that all its rows share."""
    for product, added in (node.inputs, node.inputs[::-1]):
        found = maker(edit, product, "mul_mat", i)
        if (
            found is None
            or added.shape not in (product.shape, product.shape[1:])
            or only_reader(edit, product, found[0], "add") is None
        ):
            continue
        at, made = found
        w, x, *_halves = made.inputs
        if w.storage.kind is not Kind.WEIGHT or w.ndim != 2 or x.ndim != 2 or edit.is_written(x, at + 1, i):
            continue
        residual = added.broadcast_to(*product.shape)
        fused = make("mul_mat_add", (w, x, residual), scope_of(made), node.outputs)
        if edit.supports(fused):
            edit.remove(at)
            edit.put(i, fused)
            return


X_OF = {"mul_mat": (1, 2), "mul_mat_id": (1, 4), "mul_mat_id_swiglu": (2, 5)}  # which operand x is, and of how many


def _halve(edit: Editing, i: int, node: Node) -> None:
    """A product of halves reads those of its input, which others of the same input share."""
    at, n_operands = X_OF[node.op]
    x = node.inputs[at]
    n_tokens = x.layout.n_elements // max(1, x.shape[-1]) if node.op == "mul_mat" else x.shape[0]
    if len(node.inputs) != n_operands or n_tokens < FEWEST_HALVED or x.dtype is not DType.F32 or x.shape[-1] % 8:
        return
    made = next((n for j, n in edit.users(x.storage, 0, i) if _are_halves(edit, j, n, x, i)), None)
    halves = made or make("halves", (x,), scope_of(node))
    product = replace(node, inputs=(*node.inputs, halves.outputs[0].reshape(*x.shape)))
    if edit.supports(halves) and edit.supports(product):
        edit.put(i, *(() if made else (halves,)), product)


def _are_halves(edit: Editing, at: int, node: Node, x: Tensor, i: int) -> bool:
    """Are these still the halves of x at position i? Experts see the rows of others with an axis more."""
    same = node.op == "halves" and node.inputs[0].layout.collapse() == x.layout.collapse()
    return same and not edit.is_written(x, at, i)


FUSIONS = (Fusion("mul_mat", _fuse),)
# after those, and before an add becomes one with a norm
NORM_FUSIONS = (Fusion("rms_norm_scale", _fuse_norm), Fusion("add", _fuse_add))
PART_FUSIONS = (
    Fusion("swiglu", _fuse_experts),
    Fusion("mul_mat_id", _list_experts),
    *(Fusion(op, _halve) for op in X_OF),
)
