"""Every op, declared once: `OPS[name]` holds its shape rule, its meaning in numpy and its decomposition."""

from . import attention, copies, elementwise, matmul, recurrent, rows, sampling
from .op import OPS, Op, Spec

__all__ = ["OPS", "Op", "Spec", "attention", "copies", "elementwise", "matmul", "recurrent", "rows", "sampling"]
