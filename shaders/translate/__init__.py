"""GLSL to one C-like text that a prelude turns into CUDA C++ or host C++ (shaders/preludes): for exactly the subset
that our shaders use. Whatever lies outside of it raises OutsideSubsetError with file and line.

A kernel becomes a struct whose members are its buffers and arguments and whose methods are its functions; shared memory
stands outside of it. Specialisation constant i is the macro VK_SPEC_i. Expressions are C++'s once vectors exist.
"""

from collections.abc import Sequence

from ..compile import Variant, preprocessed
from .emit import text_of
from .module import module_of
from .tokens import OutsideSubsetError, tokens_of

TEXT = ("TEXT", "")  # defined where a shader has to say something else to become a text

__all__ = ["OutsideSubsetError", "translate", "translated"]


def translate(variants: Sequence[Variant]) -> list[str]:
    """The texts of variants. BackendError when the GLSL compiler, which runs the preprocessor, is missing."""
    made = preprocessed([(stem, (*defines, TEXT)) for stem, defines in variants])
    return [translated(glsl, f"{stem}.comp") for glsl, (stem, _) in zip(made, variants, strict=True)]


def translated(glsl: str, file: str) -> str:
    """The text of GLSL after its preprocessor, that of `file` where no #line says otherwise."""
    return text_of(module_of(tokens_of(glsl, file)))
