"""From a GGUF file's keys to its tokenizer."""

from collections.abc import Mapping
from typing import Any

from ..errors import TextError
from .base import Tokenizer
from .bpe import bpe_from_gguf
from .gemma import gemma_from_gguf
from .spm import spm_from_gguf
from .vocab import PREFIX, UNUSED
from .wordpiece import wordpiece_from_gguf

KINDS = {"gpt2": bpe_from_gguf, "gemma4": gemma_from_gguf, "llama": spm_from_gguf, "bert": wordpiece_from_gguf}


def tokenizer_from_gguf(keys: Mapping[str, Any], n_rows: int | None = None) -> Tokenizer | None:
    """The tokenizer that `keys` (key -> value, lists as lists) describes; None for a file without one.

    n_rows: of the model's embedding, one for each token but unused ones at the end. Raises TextError for a kind that is
    not known and for data that does not fit together.
    """
    name = _model_name(keys)
    if name is None:
        return None
    if name not in KINDS:
        raise TextError(f"{PREFIX}model: {name!r:.60}, expected one of {', '.join(KINDS)}")
    made = KINDS[name](keys)
    padding = made.vocab.types[n_rows:] if n_rows is not None else ()
    if n_rows is not None and (made.n_vocab < n_rows or any(kind != UNUSED for kind in padding)):
        raise TextError(f"{PREFIX}tokens: {made.n_vocab} entries, but the model's embedding has {n_rows} rows")
    return made


def need_tokenizer(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer, or a TextError where the model came without one."""
    if tokenizer is None:
        raise TextError("the model file has no tokenizer: give token ids instead of text")
    return tokenizer


def _model_name(keys: Mapping[str, Any]) -> str | None:
    """The kind of tokenizer the file names, None where it has none."""
    name = keys.get(PREFIX + "model")
    if name is None or name in ("none", "no_vocab"):
        return None
    if not isinstance(name, str):
        raise TextError(f"{PREFIX}model: {name!r:.60}, expected a string")
    return name
