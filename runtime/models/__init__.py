"""Architectures: each turns a GGUF file into weights to upload, caches and states to keep, and graphs to run."""

from ..errors import ModelError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable
from .architecture import Architecture, Capacity
from .llama import Llama, Qwen2, Qwen3, Qwen3Moe
from .qwen3next import Qwen3Next

ARCHITECTURES: dict[str, type[Architecture]] = {made.name: made for made in (Llama, Qwen2, Qwen3, Qwen3Moe, Qwen3Next)}


def open_model(f: GGUFFile, capacity: Capacity) -> Architecture:
    """The file's model. ModelError names an architecture that vkrun does not run."""
    name = f.get_str("general.architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"general.architecture: {printable(name)} is not supported, expected {known}")
    return ARCHITECTURES[name](f, capacity)
