"""Mixture of experts: the whole of it, and the fused ops that become of it."""

from . import experts
from .moe_ffn import FUSIONS, moe_ffn

__all__ = ["FUSIONS", "experts", "moe_ffn"]
