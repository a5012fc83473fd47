"""Every op, declared once: `OPS[name]` holds what is to be known of it (op.py lists it)."""

from . import attention, copies, elementwise, matmul, recurrent, rows, sampling
from .op import OPS, Cut, Op, OpKind, Spec, Work

__all__ = ["OPS", "Cut", "Op", "OpKind", "Spec", "Work"]
__all__ += ["attention", "copies", "elementwise", "matmul", "recurrent", "rows", "sampling"]
