"""Layers with a state in the place of a cache: the short convolution, the gated delta rule."""

from .causal_conv import causal_conv
from .delta_net import FUSIONS, gated_delta_net

__all__ = ["FUSIONS", "causal_conv", "gated_delta_net"]
