"""Qwen 2 with biases of q, k and v, Qwen 3 with norms of heads, and both with experts. Those that also see are run as
text, where the position's components are equal."""

from .transformer import Transformer


class Qwen2(Transformer):
    name = "qwen2"


class Qwen2VL(Qwen2):
    name = "qwen2vl"


class Qwen2Moe(Qwen2):
    name = "qwen2moe"
    normalises = False


class Qwen3(Transformer):
    name = "qwen3"
    head_norms = True


class Qwen3VL(Qwen3):
    name = "qwen3vl"


class Qwen3Moe(Qwen3):
    name = "qwen3moe"
    normalises = True


class Qwen3VLMoe(Qwen3Moe):
    name = "qwen3vlmoe"
