"""GLM 4: four norms and half a head turned by neighbours; its mixture of experts has two norms and turns halves."""

from .transformer import Transformer


class Glm4(Transformer):
    name = "glm4"
    neighbours = True
    attention_norms = "attn_norm", "post_attention_norm"
    ffn_norms = "ffn_norm", "post_ffw_norm"


class Glm4Moe(Transformer):
    name = "glm4moe"
    ffn_norms = "post_attention_norm", ""
    score = "sigmoid"
