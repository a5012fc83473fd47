"""Which file is the model, and whether it is one, before anything else is done."""

from .. import models
from ..errors import VkrunError
from ..gguf.file import GGUFFile
from ..model import BUNDLED
from ..text.tokenizer import tokenizer_from_gguf


def bundled(usage: str) -> str:
    """The path of the model in the package; `usage` says how another one is named."""
    if not BUNDLED.exists():
        raise VkrunError(f"{BUNDLED}: the bundled model is missing; name a model: {usage}")
    return str(BUNDLED)


def check_model(path: str) -> None:
    """Raises what load() would for a file that is no model vkrun runs. Touches no device."""
    with GGUFFile.open(path) as f:
        tokenizer_from_gguf(f.keys, models.open_model(f, models.Capacity(1)).params.n_vocab)
