"""Composite ops: larger steps of a model, each with its numpy meaning and its decomposition into primitives.

A backend may run one as a whole; where it does not, the decompose pass replaces it. Those of which no model knows come
with the pattern of which the fuse pass makes them.
"""

from . import glu_mul_mat, matmul, rows, top_k
from .attention import FUSIONS as ATTENTION_FUSIONS
from .attention import attention, cache_write
from .attention_inputs import FUSIONS as INPUT_FUSIONS
from .latent import latent_cache
from .moe import FUSIONS as MOE_FUSIONS
from .moe import GLUS, moe_ffn
from .recurrent import CONV_FUSIONS, causal_conv, gated_delta_net, kimi_delta, mamba2
from .recurrent import FUSIONS as RECURRENT_FUSIONS
from .rope_attention import FUSIONS as ROPE_FUSIONS
from .rope_attention_split import FUSIONS as ROPE_SPLIT_FUSIONS

# in this order: what a wider pattern takes is not left to a narrower one, and what one makes another may take
FUSIONS = (
    *(*MOE_FUSIONS, *RECURRENT_FUSIONS, *INPUT_FUSIONS, *ROPE_FUSIONS, *ATTENTION_FUSIONS, *ROPE_SPLIT_FUSIONS),
    *(*matmul.FUSIONS, *glu_mul_mat.FUSIONS, *matmul.NORM_FUSIONS, *CONV_FUSIONS, *rows.FUSIONS, *top_k.FUSIONS),
)
# of the parts into which decompose takes composites
PART_FUSIONS = matmul.PART_FUSIONS

__all__ = [
    "FUSIONS",
    "GLUS",
    "PART_FUSIONS",
    "attention",
    "cache_write",
    "causal_conv",
    "gated_delta_net",
    "kimi_delta",
    "latent_cache",
    "mamba2",
    "matmul",
    "moe_ffn",
    "rows",
    "top_k",
]
