"""vkrun: GGUF language models on any Vulkan device.

import vkrun
with vkrun.load("model.gguf") as model:
    for piece in model.generate("def fibonacci(n):", max_tokens=64, temperature=0):
        print(piece, end="")
"""

from typing import TYPE_CHECKING, Any

from .runtime.version import VERSION as __version__

__all__ = ["BUNDLED", "Grammar", "Graph", "Layout", "Model", "VkrunError", "__version__", "counts", "devices", "load"]

if TYPE_CHECKING:
    from .backends.registry import devices
    from .runtime.counts import counts
    from .runtime.errors import VkrunError
    from .runtime.ir.graph import Graph
    from .runtime.ir.layout import Layout
    from .runtime.model import BUNDLED, Model, load
    from .runtime.text.grammar import Grammar

_HOMES = {
    "BUNDLED": "runtime.model",
    "Grammar": "runtime.text.grammar",
    "Graph": "runtime.ir.graph",
    "Layout": "runtime.ir.layout",
    "Model": "runtime.model",
    "VkrunError": "runtime.errors",
    "counts": "runtime.counts",
    "devices": "backends.registry",
    "load": "runtime.model",
}


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so that `vkrun --help` need not load numpy."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
