"""GLM 4: four norms and half a head turned by neighbours; its mixture of experts has two norms and turns halves."""

from .transformer import Transformer


class Glm4(Transformer):
    name = "glm4"
    called = "GLM 4 0414, GLM Z1"
    neighbours = True
    attention_norms = "attn_norm", "post_attention_norm"
    ffn_norms = "ffn_norm", "post_ffw_norm"


class Glm4Moe(Transformer):
    name = "glm4moe"
    called = "GLM 4.5 to 4.7"
    ffn_norms = "post_attention_norm", ""
    score = "sigmoid"
