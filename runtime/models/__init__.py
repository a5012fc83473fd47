"""Architectures: each turns a GGUF file into weights to upload, states to keep and graphs to run."""

from ..errors import ModelError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable
from .qwen3next import Qwen3Next

ARCHITECTURES = {Qwen3Next.architecture: Qwen3Next}


def open_model(f: GGUFFile, n_ctx: int, n_slots: int) -> Qwen3Next:
    """The file's model. ModelError names an architecture that vkrun does not run."""
    name = f.get_str("general.architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"general.architecture: {printable(name)} is not supported, expected {known}")
    return ARCHITECTURES[name](f, n_ctx, n_slots)
