"""WordPiece (`tokenizer.ggml.model` bert; Devlin et al., 2018): words, and of each the longest pieces from the left.

A file writes pieces that begin a word with U+2581 in front, and those that go on without (BERT's own with ## and
without). What is not known makes its whole word unknown.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from .base import Tokenizer
from .spm import SPACE
from .vocab import PREFIX, Vocab, vocab_from_gguf

LONGEST_WORD = 100  # characters; longer ones are unknown
# ideographs, each of which is a word: first and last
IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class WordPieceTokenizer(Tokenizer):
    """lowercase: letters are made small, and lose their marks."""

    def __init__(self, vocab: Vocab, lowercase: bool = True) -> None:
        super().__init__(vocab)
        self._lowercase = lowercase
        self._longest = max(map(len, vocab.tokens))

    def _encode_text(self, text: str) -> Iterator[int]:
        for word in words(normalised(text, self._lowercase)):
            yield from self._encode_word(word)

    def _encode_word(self, word: str) -> list[int]:
        unknown = [] if self.vocab.unk_id is None else [self.vocab.unk_id]
        if len(word) > LONGEST_WORD:
            return unknown
        ids, rest = [], SPACE + word
        while rest:
            ends = range(min(len(rest), self._longest), 0, -1)
            end = next((n for n in ends if rest[:n] in self.vocab.ids and rest[:n] != SPACE), 0)
            if not end:
                return unknown
            ids.append(self.vocab.ids[rest[:end]])
            rest = rest[end:]
        return ids

    def _text_bytes(self, text: str) -> bytes:
        return text.replace(SPACE, " ").encode("utf-8", "replace")


def normalised(text: str, lowercase: bool) -> str:
    """Without control characters, ideographs set apart; small letters without marks."""
    text = "".join(map(_cleaned, text))
    if not lowercase:
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()


def _cleaned(c: str) -> str:
    if c in "\t\n\r" or unicodedata.category(c) == "Zs":
        return " "
    if c == "\ufffd" or unicodedata.category(c).startswith("C"):
        return ""
    return f" {c} " if any(first <= ord(c) <= last for first, last in IDEOGRAPHS) else c


def words(text: str) -> Iterator[str]:
    """Runs of what is neither blank nor punctuation, and each mark of punctuation."""
    for run in text.split():
        word = ""
        for c in run:
            if not _is_punctuation(c):
                word += c
                continue
            yield from (word, c) if word else (c,)
            word = ""
        if word:
            yield word


def _is_punctuation(c: str) -> bool:
    """All of ASCII's signs count."""
    return unicodedata.category(c).startswith("P") or (c.isascii() and not c.isalnum() and c.isprintable())


def wordpiece_from_gguf(keys: Mapping[str, Any]) -> WordPieceTokenizer:
    """The WordPiece vocabulary in `keys`; TextError where its lists are missing or do not fit together. The separator
    ends a text."""
    named = {PREFIX + "bos_token_id": PREFIX + "cls_token_id", PREFIX + "eos_token_id": PREFIX + "seperator_token_id"}
    known = dict(keys)
    for key, other in named.items():
        if key not in keys and other in keys:
            known[key] = keys[other]
    known.setdefault(PREFIX + "add_eos_token", True)
    vocab = vocab_from_gguf(known, bos=101, eos=102, unk=100, add_bos=True)
    return WordPieceTokenizer(vocab, bool(keys.get(PREFIX + "normalizer.lowercase", True)))
