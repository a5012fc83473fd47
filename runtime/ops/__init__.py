"""Every op, declared once: `OPS[name]` holds its shape rule, its meaning in numpy and its decomposition."""

from . import copies, elementwise, matmul, rows, sampling
from .op import OPS, Op, Spec

__all__ = ["OPS", "Op", "Spec", "copies", "elementwise", "matmul", "rows", "sampling"]
