"""Composite ops: larger steps of a model, each with its numpy meaning and its decomposition into primitives.

A backend may run one as a whole; where it does not, the decompose pass replaces it.
"""

from . import fused, fused_moe
from .attention import attention, cache_write
from .causal_conv import causal_conv
from .delta_net import gated_delta_net
from .moe import moe_ffn

__all__ = ["attention", "cache_write", "causal_conv", "fused", "fused_moe", "gated_delta_net", "moe_ffn"]
