"""Hugging Face checkpoints as GGUF files."""
