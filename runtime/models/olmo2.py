"""OLMo 2 and 3: norms after the blocks alone, and over all heads of q and of k at once."""

from .transformer import Transformer


class Olmo2(Transformer):
    name = "olmo2"
    called = "OLMo 2 and 3"
    attention_norms = "", "post_attention_norm"
    ffn_norms = "", "post_ffw_norm"
    head_norms = whole_norms = True
    window_period = 4
    sliding_scaled = False
