"""vkrun: GGUF language models on Vulkan."""

__version__ = "0.1.0"
