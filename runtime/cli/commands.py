"""The commands beside the default one."""

# name -> the module whose `command` it is, imported when used, and a line for --help
COMMANDS = {
    "inspect": ("inspect_file", "keys, tensors and sizes of a GGUF file"),
    "devices": ("devices", "backends and devices, and what is missing"),
    "bench": ("bench", "tokens a second, as llama-bench counts them, and where the time goes"),
    "convert": ("convert", "a Hugging Face checkpoint as a GGUF file"),
    "graph": ("graph", "what the passes make of a layer, drawn and counted"),
    "test-ops": ("ops_matrix", "hold every op against numpy on your own device"),
}
