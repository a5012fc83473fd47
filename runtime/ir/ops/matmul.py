"""Matrix products: with one weight, or with one of many picked by id."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Cut, Op, OpKind, Spec, Work, n_picked, register, require, require_dtype

F32 = DType.F32


def _mul_mat_infer(w: Tensor, x: Tensor, *halves: Tensor) -> tuple[Spec]:
    """w [..., M, K], x [..., N, K] -> [..., N, M]: out[n, m] = sum_k x[n, k] w[m, k].

    Batch axes of w divide x's: head h of x meets head h // (H / Hw) of w, as grouped queries want it. halves: those of
    x, for kernels that multiply halves.
    """
    require_dtype("mul_mat", x, F32)
    require(w.ndim >= 2 and x.ndim >= w.ndim, "mul_mat", f"w {w.shape}, x {x.shape}")
    require(w.shape[-1] == x.shape[-1], "mul_mat", f"inner axes differ: w {w.shape}, x {x.shape}")
    batch = zip(reversed(w.shape[:-2]), reversed(x.shape[:-2]), strict=False)
    require(all(m and n % m == 0 for m, n in batch), "mul_mat", f"batch axes do not divide: w {w.shape}, x {x.shape}")
    _require_halves("mul_mat", x, *halves)
    return (Spec((*x.shape[:-1], w.shape[-2])),)


def _require_halves(op: str, x: Tensor, *halves: Tensor) -> None:
    require(all(t.shape == x.shape and t.dtype is DType.F16 for t in halves), op, f"halves {halves}, of x {x}")


def _mul_mat(w, x: np.ndarray, *_halves: np.ndarray) -> tuple[np.ndarray]:
    a = np.asarray(w)
    for axis in range(-3, -a.ndim - 1, -1):
        a = np.repeat(a, x.shape[axis] // a.shape[axis], axis)
    with np.errstate(all="ignore"):  # inf and NaN are data
        return (x @ np.swapaxes(a, -1, -2),)


def _mul_mat_id_infer(w: Tensor, x: Tensor, ids: Tensor, *more: Tensor) -> tuple[Spec]:
    """Expert products. w [X, M, K], x [N, 1 or k, K], ids [N, k] -> [N, k, M] = x[n, j] . w[ids[n, j]].

    Ids are clamped and may repeat. more: expert_lists of ids, for kernels that go by expert, then the halves of x.
    """
    require_dtype("mul_mat_id", x, F32)
    require_dtype("mul_mat_id", ids, DType.I32)
    shapes = f"w {w.shape}, x {x.shape}, ids {ids.shape}"
    require(w.ndim == 3 and w.shape[0] > 0 and x.ndim == 3 and ids.ndim == 2, "mul_mat_id", shapes)
    ok = x.shape[0] == ids.shape[0] and x.shape[1] in (1, ids.shape[1]) and x.shape[2] == w.shape[2]
    require(ok, "mul_mat_id", shapes)
    wanted = (w.shape[0] + 1 + ids.layout.n_elements,)
    lists, halves = more[:1], more[1:]
    require(all(t.shape == wanted for t in lists), "mul_mat_id", f"lists {lists}, expected {wanted}")
    _require_halves("mul_mat_id", x, *halves)
    return (Spec((*ids.shape, w.shape[1])),)


def _mul_mat_id(w, x: np.ndarray, ids: np.ndarray, *_more: np.ndarray) -> tuple[np.ndarray]:
    ids = np.clip(ids, 0, w.shape[0] - 1)
    wide = np.broadcast_to(x, (*ids.shape, x.shape[-1]))
    out = np.empty((*ids.shape, w.shape[1]), np.float32)
    for e in np.unique(ids):
        hit = ids == e
        with np.errstate(all="ignore"):
            out[hit] = wide[hit] @ w[int(e)].T
    return (out,)


def _work(w: Tensor, x: Tensor, *_halves: Tensor) -> Work:
    return Work(flops=2 * x.layout.n_elements * w.shape[-2])


def _cuts(w: Tensor, x: Tensor, *halves: Tensor) -> tuple[Cut, ...]:
    """Batch entries (of x alone where all of them meet one of w), rows of x, rows of w."""

    def of_x(axis: int) -> dict[int, int]:
        return dict.fromkeys(range(1, 2 + len(halves)), axis)

    axes = range(-x.ndim, -2)
    batch = [Cut({**({} if a < -w.ndim or w.shape[a] == 1 else {0: a}), **of_x(a)}, {0: a}) for a in axes]
    return *batch, Cut(of_x(-2), {0: -2}), Cut({0: -2}, {0: -1})


def _expert_work(w: Tensor, _x: Tensor, ids: Tensor, *_more: Tensor) -> Work:
    return Work(reads={0: n_picked(w, ids)}, flops=2 * ids.layout.n_elements * w.shape[1] * w.shape[2])


def _expert_lists_infer(ids: Tensor, n_experts: int) -> tuple[Spec]:
    """ids [N, k], clamped -> [X + 1 + N k]: where each expert's pairs start and the last one's end, counted from 0,
    then the pairs n k + j by expert, ascending."""
    require_dtype("expert_lists", ids, DType.I32)
    require(ids.ndim == 2 and n_experts > 0, "expert_lists", f"ids {ids.shape}, {n_experts} experts")
    return (Spec((n_experts + 1 + ids.layout.n_elements,), DType.I32),)


def _expert_lists(ids: np.ndarray, n_experts: int) -> tuple[np.ndarray]:
    flat = np.clip(ids.reshape(-1), 0, n_experts - 1)
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(n_experts + 1))
    return (np.concatenate([starts, order]).astype(np.int32),)


def _halves_infer(x: Tensor) -> tuple[Spec]:
    """x [..., K] as halves in the order that tiles of cooperative matrices want: of each four the middle two change
    places. Beyond 65504 they are infinite."""
    require_dtype("halves", x, F32)
    require(x.ndim > 0 and x.shape[-1] % 8 == 0, "halves", f"x {x.shape}, its rows are no octets")
    return (Spec(x.shape, DType.F16),)


def _halves(x: np.ndarray) -> tuple[np.ndarray]:
    with np.errstate(over="ignore"):
        return (x.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(x.shape).astype(np.float16).astype(np.float32),)


register(Op("halves", _halves_infer, _halves))
register(Op("mul_mat", _mul_mat_infer, _mul_mat, kind=OpKind.PRODUCT, work=_work, cuts=_cuts))
register(Op("mul_mat_id", _mul_mat_id_infer, _mul_mat_id, kind=OpKind.PRODUCT, work=_expert_work))
register(Op("expert_lists", _expert_lists_infer, _expert_lists))
