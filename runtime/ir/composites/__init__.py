"""Composite ops: larger steps of a model, each with its numpy meaning and its decomposition into primitives.

A backend may run one as a whole; where it does not, the decompose pass replaces it.
"""

from . import matmul, rows
from .attention import attention, cache_write
from .moe import moe_ffn
from .recurrent import causal_conv, gated_delta_net

__all__ = ["attention", "cache_write", "causal_conv", "gated_delta_net", "matmul", "moe_ffn", "rows"]
