"""Layers with a state in the place of a cache: the short convolution, the gated delta rule, Kimi's, Mamba-2."""

from .causal_conv import causal_conv
from .conv_projections import FUSIONS as CONV_FUSIONS
from .delta_net import FUSIONS as NET_FUSIONS
from .delta_net import gated_delta_net
from .delta_parts import FUSIONS as STEP_FUSIONS
from .kimi_delta import kimi_delta
from .mamba2 import mamba2

FUSIONS = (*STEP_FUSIONS, *NET_FUSIONS)  # in steps where kernels for that are there

__all__ = ["CONV_FUSIONS", "FUSIONS", "causal_conv", "gated_delta_net", "kimi_delta", "mamba2"]
