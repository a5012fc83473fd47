"""Byte-level BPE (`tokenizer.ggml.model` gpt2): words by pattern, bytes as letters, merges by rank."""

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as MergeTokenizer
from tokenizers.models import BPE

from ..errors import TextError
from .base import Tokenizer
from .pretokens import RULES, PreRule
from .vocab import PREFIX, Vocab, list_of, vocab_from_gguf


def _letters_of_bytes() -> dict[int, str]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 for letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


LETTER_OF_BYTE = _letters_of_bytes()
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}


_NFC = normalizers.NFC()


class BpeTokenizer(Tokenizer):
    """`merges` holds "left right" strings, the first the strongest."""

    def __init__(self, vocab: Vocab, merges: list[str], rule: PreRule) -> None:
        super().__init__(vocab)
        self._merges = merges
        self._rule = rule

    @cached_property
    def _engine(self) -> MergeTokenizer:
        ids = self.vocab.ids
        try:
            engine = MergeTokenizer(BPE(ids, merge_pairs(self._merges, ids), ignore_merges=self._rule.ignore_merges))
        except Exception as error:  # the package raises bare Exceptions for a vocabulary it cannot take
            raise TextError(f"{PREFIX}tokens, {PREFIX}merges: {error}") from error
        cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in self._rule.patterns]
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        return engine

    @cached_property
    def _bytes_missing(self) -> frozenset[int]:
        """Bytes without a token of their own, which the engine would drop without a word."""
        return frozenset(byte for byte, letter in LETTER_OF_BYTE.items() if letter not in self.vocab.ids)

    def _encode_text(self, text: str) -> list[int]:
        text = _NFC.normalize_str(text) if self._rule.nfc else text
        self._check_bytes(text)
        return self._engine.encode(text, add_special_tokens=False).ids

    def _check_bytes(self, text: str) -> None:
        if self._bytes_missing and (lost := self._bytes_missing.intersection(text.encode())):
            raise TextError(f"the vocabulary has no token for byte 0x{min(lost):02X} of {text!r:.60}")

    def _text_bytes(self, text: str) -> bytes:
        try:
            return bytes(BYTE_OF_LETTER[letter] for letter in text)
        except KeyError:  # not spelled in the byte alphabet: an added token declared as a normal one
            return text.encode("utf-8", "replace")


def bpe_from_gguf(keys: Mapping[str, Any]) -> BpeTokenizer:
    """The byte-level BPE in `keys`; TextError where its lists are missing or do not fit together."""
    name = keys.get(PREFIX + "pre", "default")
    if not isinstance(name, str):
        raise TextError(f"{PREFIX}pre: {name!r:.60}, expected a string")
    if name not in RULES:
        warnings.warn(f"{PREFIX}pre: {name!r:.60} is not known; words are cut by the default rule", stacklevel=3)
    rule = RULES.get(name, RULES["default"])
    vocab = vocab_from_gguf(keys, bos=None, eos=None, unk=None, add_bos=rule.add_bos)
    return BpeTokenizer(vocab, list_of(keys, "merges", str), rule)


def merge_pairs(merges: list[str], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Both sides of each merge that can apply: where a side or the result is no token it never does."""
    pairs: list[tuple[str, str]] = []
    append = pairs.append
    for merge in merges:  # one flat loop: there are some hundred thousand
        left, _, right = merge.partition(" ")
        if not (left and right):
            left, right = _sides(merge)
        if left in ids and right in ids and left + right in ids:
            append((left, right))
    return pairs


def _sides(merge: str) -> tuple[str, str]:
    """Of a merge whose left side may begin with a space."""
    cut = merge.find(" ", 1)
    if cut < 0 or cut + 1 == len(merge):
        raise TextError(f'{PREFIX}merges: {merge!r:.60}, expected "left right"')
    return merge[:cut], merge[cut + 1 :]
