"""Phi 3 and 4: q, k and v in one matrix, gate and up in another, factors of frequencies for longer contexts."""

from .transformer import Transformer


class Phi3(Transformer):
    name = "phi3"
    called = "Phi 3, 3.5 and 4, Phi 4 mini"
