"""The commands beside the default one, and a line on each for --help."""

COMMANDS = {
    "inspect": "keys, tensors and sizes of a GGUF file",
    "serve": "OpenAI's API and a page to chat, for many at once",
    "chat": "chat with a server that runs somewhere",
    "devices": "backends and devices, and what is missing",
    "pull": "fetch a model from a hub ahead of its use",
    "list": "models that were fetched, or what a repository has",
    "rm": "delete fetched models",
    "bench": "tokens a second, as llama-bench counts them, and where the time goes",
    "perplexity": "how likely a model finds a text, and how far it is from another",
    "convert": "a Hugging Face checkpoint as a GGUF file",
    "graph": "what the passes make of a layer, drawn and counted",
    "test-ops": "hold every op against numpy on your own device",
    "help": "this text, or a command's: vkrun help COMMAND",
}
