"""Mixture of experts: the whole of it, and the fused ops that become of it."""

from . import experts
from .glu import GLUS
from .moe_ffn import FUSIONS as MOE_FUSIONS
from .moe_ffn import moe_ffn
from .route_gate_up import FUSIONS as ROUTE_FUSIONS

FUSIONS = (*MOE_FUSIONS, *ROUTE_FUSIONS)

__all__ = ["FUSIONS", "GLUS", "experts", "moe_ffn"]
