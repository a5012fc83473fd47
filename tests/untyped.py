"""What is alike of shaders' variants that differ in types of weights alone, which change no constant."""

from vkrun.shaders.kernel import Variant


def untyped(variant: Variant) -> Variant:
    """Without the types of weights."""
    stem, defines = variant
    return stem, tuple(d for d in defines if not d[0].startswith(("TYPE_", "SECOND_")))
