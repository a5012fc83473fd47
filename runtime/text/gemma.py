"""Gemma 4's BPE (`tokenizer.ggml.model` gemma4): merges over plain characters, spaces as U+2581, bytes of the rest."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as MergeTokenizer
from tokenizers.models import BPE

from ..errors import TextError
from .base import Tokenizer
from .bpe import merge_pairs
from .vocab import PREFIX, Vocab, list_of, vocab_from_gguf

SPACE = "\u2581"
LINES = "\n+"  # runs of them are words of their own


class GemmaTokenizer(Tokenizer):
    """`merges` holds "left right" strings, the first the strongest."""

    def __init__(self, vocab: Vocab, merges: list[str]) -> None:
        super().__init__(vocab)
        self._merges = merges

    @cached_property
    def _engine(self) -> MergeTokenizer:
        ids = self.vocab.ids
        unknown = {} if self.vocab.unk_id is None else {"unk_token": self.vocab.tokens[self.vocab.unk_id]}
        try:
            engine = MergeTokenizer(BPE(ids, merge_pairs(self._merges, ids), byte_fallback=True, **unknown))
        except Exception as error:  # the package raises bare Exceptions for a vocabulary it cannot take
            raise TextError(f"{PREFIX}tokens, {PREFIX}merges: {error}") from error
        engine.pre_tokenizer = pre_tokenizers.Split(Regex(LINES), "isolated")
        return engine

    def _encode_text(self, text: str) -> list[int]:
        return self._engine.encode(text.replace(" ", SPACE), add_special_tokens=False).ids

    def _text_bytes(self, text: str) -> bytes:
        return text.replace(SPACE, " ").encode("utf-8", "replace")


def gemma_from_gguf(keys: Mapping[str, Any]) -> GemmaTokenizer:
    """TextError where lists are missing or do not fit together."""
    vocab = vocab_from_gguf(keys, bos=2, eos=1, unk=3, add_bos=True)
    return GemmaTokenizer(vocab, list_of(keys, "merges", str))
