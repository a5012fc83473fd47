"""SentencePiece BPE (`tokenizer.ggml.model` llama): the best scored neighbours merge first, bytes as a last resort.

Differs from rank-based BPE where several pairs make one piece: they share its score, and the leftmost goes first.
"""

import heapq
import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ..errors import TextError
from .base import Tokenizer
from .vocab import BYTE, CONTROL, PREFIX, UNKNOWN, Vocab, list_of, vocab_from_gguf

SPACE = "\u2581"  # how a vocabulary writes a blank
_WORDS = re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
_INNER_SPACE = re.compile(f"[^{SPACE}]{SPACE}")
_CACHE_WORDS, _CACHE_LENGTH = 20_000, 64


class SpmTokenizer(Tokenizer):
    """`scores` holds one number a token, the higher the earlier it is merged."""

    def __init__(self, vocab: Vocab, scores: list[float], add_space_prefix: bool = True) -> None:
        super().__init__(vocab)
        self._scores = scores
        self._add_space_prefix = add_space_prefix
        self._cache: dict[str, list[int]] = {}

    def decode_bytes(self, ids: Iterable[int], special: bool = False) -> bytes:
        """As the base does, less the blank that encoding put in front of the text."""
        ids = list(ids)
        data = super().decode_bytes(ids, special)
        shows_control = special and bool(ids) and self.is_special(ids[0])
        return data.removeprefix(b" ") if self._add_space_prefix and not shows_control else data

    @cached_property
    def _pieces(self) -> dict[str, int]:
        """Pieces that merging may make: every token but control, unknown and byte tokens."""
        barred = frozenset(self.vocab.of_type(CONTROL, UNKNOWN, BYTE))
        return {text: i for text, i in self.vocab.ids.items() if i not in barred}

    @cached_property
    def _byte_ids(self) -> list[int | None]:
        by_text = {self.vocab.tokens[i].upper(): i for i in self.vocab.of_type(BYTE)}
        return [by_text.get(f"<0X{byte:02X}>") for byte in range(256)]

    @cached_property
    def _cut_at_spaces(self) -> bool:
        """True where no piece has a blank after another letter, so that no merge can cross from word to word."""
        return not any(_INNER_SPACE.search(text) for text in self._pieces)

    def _encode_pieces(self, pieces: Iterable[str | int]) -> list[int]:
        ids: list[int] = []
        after_special = True
        for piece in pieces:
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._encode_text(" " + piece if after_special and self._add_space_prefix else piece)
            after_special = isinstance(piece, int)
        return ids

    def _encode_text(self, text: str) -> list[int]:
        text = text.replace(" ", SPACE)
        words = _WORDS.findall(text) if self._cut_at_spaces else [text]
        return [token for word in words for token in self._encode_word(word)]

    def _encode_word(self, word: str) -> list[int]:
        if (known := self._cache.get(word)) is not None:
            return known
        ids = [token for piece in merge_by_score(word, self._pieces, self._scores) for token in self._piece_ids(piece)]
        if len(self._cache) < _CACHE_WORDS and len(word) <= _CACHE_LENGTH:
            self._cache[word] = ids
        return ids

    def _piece_ids(self, piece: str) -> list[int]:
        if (token := self._pieces.get(piece)) is not None:
            return [token]
        ids = [self._byte_ids[byte] for byte in piece.encode()]
        if None not in ids:
            return [token for token in ids if token is not None]
        if self.vocab.unk_id is None:
            raise TextError(f"the vocabulary has no token for {piece!r:.60}, no byte tokens and no unknown token")
        return [self.vocab.unk_id]

    def _text_bytes(self, text: str) -> bytes:
        return text.replace(SPACE, " ").encode("utf-8", "replace")


def merge_by_score(text: str, pieces: Mapping[str, int], scores: list[float]) -> list[str]:
    """Cuts `text` into characters and merges neighbours while their join is a piece: best score, then leftmost.

    O(n log n) in the length of the text: a queue of candidate pairs over a linked list of symbols.
    """
    symbols = list(text)
    before, after = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))

    def candidate(left: int, right: int) -> list[tuple[float, int, int, str]]:
        if left < 0 or right >= len(symbols):
            return []
        token = pieces.get(joined := symbols[left] + symbols[right])
        return [] if token is None else [(-scores[token], left, right, joined)]

    queue = [entry for left in range(len(symbols) - 1) for entry in candidate(left, left + 1)]
    heapq.heapify(queue)
    while queue:
        _, left, right, joined = heapq.heappop(queue)
        if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != joined:
            continue  # one side has merged elsewhere since
        symbols[left], symbols[right] = joined, ""
        after[left] = after[right]
        if after[left] < len(symbols):
            before[after[left]] = left
        for entry in candidate(before[left], left) + candidate(left, after[left]):
            heapq.heappush(queue, entry)
    return [symbol for symbol in symbols if symbol]


def spm_from_gguf(keys: Mapping[str, Any]) -> SpmTokenizer:
    """The SentencePiece BPE in `keys`; TextError where its lists are missing or do not fit together."""
    vocab = vocab_from_gguf(keys, bos=1, eos=2, unk=0, add_bos=True)
    scores = list_of(keys, "scores", float, length=len(vocab.tokens))
    if (bad := next((i for i, score in enumerate(scores) if math.isnan(score)), None)) is not None:
        raise TextError(f"{PREFIX}scores: entry {bad} is {scores[bad]}, expected a number")
    return SpmTokenizer(vocab, scores, bool(keys.get(PREFIX + "add_space_prefix", True)))
