"""Architectures: each turns a GGUF file into weights to upload, caches and states to keep, and graphs to run."""

from difflib import get_close_matches

from ..errors import ModelError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable
from .architecture import Architecture, Capacity
from .bert import Bert, NomicBert
from .deepseek2 import DeepSeek2
from .gemma import Gemma, Gemma2, Gemma3
from .gemma4 import Gemma4
from .glm4 import Glm4, Glm4Moe
from .gpt2 import GPT2, StarCoder2
from .gpt_oss import GptOss
from .kimi import KimiLinear
from .lfm2 import Lfm2, Lfm2Moe
from .llama import Granite, GraniteMoe, Llama, Mistral3, SmolLM3
from .mamba import FalconH1, GraniteHybrid, NemotronH, NemotronHMoe
from .olmo2 import Olmo2
from .phi3 import Phi3
from .qwen import Qwen2, Qwen2Moe, Qwen2VL, Qwen3, Qwen3Moe, Qwen3VL, Qwen3VLMoe
from .qwen3next import Qwen3Next, Qwen35, Qwen35Moe
from .unused import notes_of

FAMILIES: tuple[type[Architecture], ...] = (
    Llama,
    Mistral3,
    SmolLM3,
    Granite,
    GraniteMoe,
    Qwen2,
    Qwen2Moe,
    Qwen2VL,
    Qwen3,
    Qwen3Moe,
    Qwen3VL,
    Qwen3VLMoe,
    Qwen3Next,
    Qwen35,
    Qwen35Moe,
    Lfm2,
    Lfm2Moe,
    GraniteHybrid,
    FalconH1,
    NemotronH,
    NemotronHMoe,
    KimiLinear,
    Bert,
    NomicBert,
    Gemma,
    Gemma2,
    Gemma3,
    Gemma4,
    GptOss,
    Phi3,
    Glm4,
    Glm4Moe,
    DeepSeek2,
    Olmo2,
    StarCoder2,
    GPT2,
)
ARCHITECTURES: dict[str, type[Architecture]] = {made.name: made for made in FAMILIES}


def open_model(f: GGUFFile, capacity: Capacity) -> Architecture:
    """The file's model. ModelError names an architecture that vkrun does not run, the nearest one that it does and all
    of them."""
    name = f.get_str("general.architecture")
    if name not in ARCHITECTURES:
        near = get_close_matches(name, ARCHITECTURES, 1, 0)
        known = ", ".join(sorted(ARCHITECTURES))
        hint = f"the nearest is {near[0]} of {known}" if near else f"expected {known}"
        raise ModelError(f"general.architecture: {printable(name)} is not supported, {hint}")
    model = ARCHITECTURES[name](f, capacity)
    model.notes = notes_of(f, model)
    return model
