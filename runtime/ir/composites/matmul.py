"""Several products as one: the projections of one input."""

from dataclasses import replace

import numpy as np

from ..dtypes import DType
from ..editing import Editing, is_same, is_temp
from ..graph import Node
from ..ops.op import Op, OpKind, Spec, Work, register, require, require_dtype
from ..patterns import Fusion, make, scope_of, stands
from ..tensor import Kind, Tensor

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
    """Products of one input with several weights of one type."""
    w, x = node.inputs
    if w.ndim != 2 or x.ndim != 2 or w.storage.kind is not Kind.WEIGHT:
        return
    kin = [(j, n) for j, n in edit.users(x.storage, i) if stands(edit, j, n) and _projects(n, x)]
    kin = [(j, n) for j, n in kin if n.inputs[0].dtype is w.dtype][:MAX_PROJECTIONS]
    if len(kin) < 2 or kin[0][0] != i or edit.is_written(x, i, kin[-1][0] + 1):
        return
    outs = [n.outputs[0] for _, n in kin]
    fused = make("mul_mats", (x, *(n.inputs[0] for _, n in kin)), scope_of(node), outs)
    if edit.supports(fused):
        for j, _ in kin:
            edit.remove(j)
        edit.put(i, fused)


def _projects(n: Node, x: Tensor) -> bool:
    if n.op != "mul_mat":
        return False
    w = n.inputs[0]
    return is_same(n.inputs[1], x) and w.ndim == 2 and w.storage.kind is Kind.WEIGHT and is_temp(n.outputs[0])


def _list_experts(edit: Editing, i: int, node: Node) -> None:
    """A product of experts reads lists of each expert's rows; products with the same ids share them."""
    w, _, ids, *given = node.inputs
    if given:
        return
    made = next((n for j, n in edit.users(ids.storage, 0, i) if _lists(edit, j, n, ids, w.shape[0], i)), None)
    lists = made or make("expert_lists", (ids,), scope_of(node), n_experts=w.shape[0])
    product = replace(node, inputs=(*node.inputs, *lists.outputs))
    if edit.supports(lists) and edit.supports(product):
        edit.put(i, *(() if made else (lists,)), product)


def _lists(edit: Editing, at: int, node: Node, ids: Tensor, n_experts: int, i: int) -> bool:
    """Are these still the lists of the ids at position i?"""
    same = node.op == "expert_lists" and is_same(node.inputs[0], ids) and node.attrs["n_experts"] == n_experts
    return same and not edit.is_written(ids, at, i)


FUSIONS = (Fusion("mul_mat", _fuse),)
PART_FUSIONS = (Fusion("mul_mat_id", _list_experts),)
