"""Reading GGUF files, which may be hostile: header, keys, tensors."""
