"""Qwen 2 with biases of q, k and v, Qwen 3 with norms of heads, and both with experts. Those that also see are run as
text, where the position's components are equal."""

from .transformer import Transformer


class Qwen2(Transformer):
    name = "qwen2"
    called = "Qwen 2 and 2.5, DeepSeek R1 distilled to them"


class Qwen2VL(Qwen2):
    name = "qwen2vl"
    called = "Qwen 2 and 2.5 VL, as text"


class Qwen2Moe(Qwen2):
    name = "qwen2moe"
    called = "Qwen 1.5 and 2 with experts"
    normalises = False
    shared_gated = True


class Qwen3(Transformer):
    name = "qwen3"
    called = "Qwen 3"
    head_norms = True


class Qwen3VL(Qwen3):
    name = "qwen3vl"
    called = "Qwen 3 VL, as text"


class Qwen3Moe(Qwen3):
    name = "qwen3moe"
    called = "Qwen 3 with experts, Qwen 3 Coder"
    normalises = True


class Qwen3VLMoe(Qwen3Moe):
    name = "qwen3vlmoe"
    called = "Qwen 3 VL with experts, as text"
