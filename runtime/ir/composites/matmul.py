"""Several products as one: the projections of one input."""

import numpy as np

from ..dtypes import DType
from ..ops.op import Op, Spec, register, require, require_dtype
from ..tensor import Tensor


def _mul_mats_infer(x: Tensor, *weights: Tensor) -> tuple[Spec, ...]:
    """x [N, K], weights [M_i, K] each -> [N, M_i] each: the projections of one input."""
    require_dtype("mul_mats", x, DType.F32)
    ok = x.ndim == 2 and all(w.ndim == 2 and w.shape[1] == x.shape[1] for w in weights)
    require(ok, "mul_mats", f"x {x.shape}, weights {[w.shape for w in weights]}")
    return tuple(Spec((x.shape[0], w.shape[0])) for w in weights)


register(
    Op(
        "mul_mats",
        _mul_mats_infer,
        lambda x, *weights: tuple(x @ np.asarray(w).T for w in weights),
        lambda g, x, *weights: tuple(g.mul_mat(w, x) for w in weights),
    )
)
