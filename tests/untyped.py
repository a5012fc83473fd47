"""What is alike of shaders' variants that differ in types of weights alone, which change no constant."""

from collections.abc import Sequence

from vkrun.shaders.kernel import Variant


def untyped(variant: Variant) -> Variant:
    """Without the types of weights."""
    stem, defines = variant
    return stem, tuple(d for d in defines if not d[0].startswith(("TYPE_", "SECOND_")))


def flagged(variants: Sequence[Variant]) -> set[Variant]:
    """One of those of each shader with the same flags, the first."""
    return set({untyped(v): v for v in reversed(variants)}.values())


def typed(variants: Sequence[Variant]) -> set[Variant]:
    """Of each shader one of each type of weights, the first: they differ in how weights are read."""
    return set({(v[0], d): v for v in reversed(variants) for d in {*v[1]} - {*untyped(v)[1]}}.values())
