"""The device-free ground: layouts, tensors, graphs of ops, the passes that make them lean, and plans."""
