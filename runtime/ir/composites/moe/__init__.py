"""Mixture of experts: the whole of it, and the fused ops that become of it."""

from . import experts
from .glu import GLUS
from .moe_ffn import FUSIONS, moe_ffn

__all__ = ["FUSIONS", "GLUS", "experts", "moe_ffn"]
