"""Norms with what stands before or after them."""

import numpy as np

from ..graph import Graph
from ..ops import OPS
from ..ops.op import Op, Spec, register, require
from ..tensor import Tensor

Array = np.ndarray


def _add_rms_norm_infer(x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Spec, Spec]:
    """x, y [N, E], w [E] -> s = x + y, and rms_norm(s) * w."""
    require(x.shape == y.shape, "add_rms_norm", f"x {x.shape}, y {y.shape}")
    require(w.shape == x.shape[-1:], "add_rms_norm", f"rows of {x.shape[-1]}, weight {w.shape}")
    return Spec(x.shape), Spec(x.shape)


def _add_rms_norm(x: Array, y: Array, w: Array, eps: float) -> tuple[Array, Array]:
    s = x + y
    return s, OPS["rms_norm_scale"].compute(s, w, eps=eps)[0]


def _add_rms_norm_parts(g: Graph, x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    s = g.add(x, y)
    return s, g.rms_norm_scale(s, w, eps)


register(Op("add_rms_norm", _add_rms_norm_infer, _add_rms_norm, _add_rms_norm_parts))
