"""Text to token ids and back, as the model file says."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

from ..errors import TextError
from .special import Span, SpecialSplitter
from .vocab import BYTE, PREFIX, UNUSED, USER_DEFINED, Vocab

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


class Tokenizer(ABC):
    """A vocabulary and the rule that cuts text into its tokens. Heavy parts are built on first use."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._bytes: dict[int, bytes] = {}

    @property
    def n_vocab(self) -> int:
        return len(self.vocab.tokens)

    @property
    def bos_id(self) -> int | None:
        return self.vocab.bos_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends an answer: eos, eot, eom and their kin known by name."""
        return self.vocab.end_ids

    def is_special(self, token: int) -> bool:
        """True for control and unknown tokens, whose text is not part of the answer."""
        return self.vocab.check_id(token) in self.vocab.special_ids

    def ids_of(self, texts: Iterable[str]) -> frozenset[int]:
        """The tokens of these very texts, where there are some."""
        return frozenset(self.vocab.ids[text] for text in texts if text in self.vocab.ids)

    def encode(self, text: str, special: bool = True, bos: bool | None = None, plain: Sequence[Span] = ()) -> list[int]:
        """Token ids of `text`.

        special: whether control tokens written in the text are recognised; user-defined ones always are.
        bos: True or False puts the begin token or leaves it; None does as the file says for both ends.
        plain: sorted [start, end) spans in which no control token is recognised, whatever `special` says.
        """
        text = _SURROGATE.sub("\ufffd", text)
        splitter = self._splitter_all if special else self._splitter_user
        ids = self._begin(bos)
        ids += self._encode_pieces(splitter.split(text, plain))
        if bos is None and self.vocab.add_eos and self.vocab.eos_id is not None:
            ids.append(self.vocab.eos_id)
        return ids

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of `ids`; invalid UTF-8 becomes U+FFFD, and control tokens are left out unless `special`."""
        return self.decode_bytes(ids, special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], special: bool = False) -> bytes:
        return b"".join(self.token_bytes(token, special) for token in ids)

    def token_bytes(self, token: int, special: bool = False) -> bytes:
        """The bytes that one token stands for; nothing for a control token unless `special`."""
        self.vocab.check_id(token)
        if token in self.vocab.special_ids:
            return self.vocab.tokens[token].encode("utf-8", "replace") if special else b""
        if token not in self._bytes:
            self._bytes[token] = self._plain_bytes(token)
        return self._bytes[token]

    def special_spans(self, text: str) -> list[Span]:
        """Where `text` spells a control token: what a user's words must not be read as."""
        return list(self._splitter_control.find(text))

    def _encode_pieces(self, pieces: Iterable[str | int]) -> list[int]:
        """Ids of text pieces between the special tokens, which come as ids already."""
        ids: list[int] = []
        for piece in pieces:
            ids += [piece] if isinstance(piece, int) else self._encode_text(piece)
        return ids

    @abstractmethod
    def _encode_text(self, text: str) -> Iterable[int]:
        """Ids of one of them."""

    @abstractmethod
    def _text_bytes(self, text: str) -> bytes:
        """Bytes of a normal token's text."""

    def _plain_bytes(self, token: int) -> bytes:
        text, kind = self.vocab.tokens[token], self.vocab.types[token]
        if kind == BYTE and (match := _BYTE_TOKEN.match(text)):
            return bytes([int(match[1], 16)])
        if kind == UNUSED:
            return b""
        return text.encode("utf-8", "replace") if kind == USER_DEFINED else self._text_bytes(text)

    def _begin(self, bos: bool | None) -> list[int]:
        if not (self.vocab.add_bos if bos is None else bos):
            return []
        if self.vocab.bos_id is None:
            if bos is None:
                return []
            raise TextError(f"a begin token was asked for, but the file has no {PREFIX}bos_token_id")
        return [self.vocab.bos_id]

    def _splitter(self, ids: Iterable[int]) -> SpecialSplitter:
        texts = ((self.vocab.tokens[i], i) for i in ids)
        return SpecialSplitter(texts, self.vocab.lstrip_ids, self.vocab.rstrip_ids)

    @cached_property
    def _splitter_control(self) -> SpecialSplitter:
        return self._splitter(self.vocab.special_ids)

    @cached_property
    def _splitter_user(self) -> SpecialSplitter:
        return self._splitter(self.vocab.of_type(USER_DEFINED))

    @cached_property
    def _splitter_all(self) -> SpecialSplitter:
        return self._splitter([*self.vocab.special_ids, *self.vocab.of_type(USER_DEFINED)])
