"""The vocabulary of a GGUF file: tokens, their kinds and the special ids, checked before anything uses them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import TextError

PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Texts that end an answer in the well known chat formats, whatever their declared kind; the marks between a
# repository's files end a completion of code.
END_TEXTS = frozenset(
    f"<|{name}|>"
    for name in (
        *("eot_id", "eom_id", "im_end", "end", "return", "call", "endoftext", "end_of_text"),
        *("fim_pad", "fim_repo", "repo_name", "file_sep"),
    )
) | {"</s>", "<eos>", "<EOT>", "[EOT]", "[EOS]", "[e~[", "<end_of_turn>", "<end_of_utterance>", "<turn|>"}
END_TEXTS |= {"<\uff5cend\u2581of\u2581sentence\uff5c>"}
# By models' names: files do not carry which tokens strip what stands beside them.
RSTRIP_MODELS, RSTRIP_NEVER = ("phi-3", "phi3"), frozenset({"<unk>", "<s>", "<|endoftext|>"})
LSTRIP_RULES, LSTRIP_TOKENS = ("jina-v2-de", "jina-v2-es", "jina-v2-code"), frozenset({"<mask>"})
END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


@dataclass(frozen=True)
class Vocab:
    """Tokens by id. `types` holds GGUF's token types (1 normal ... 6 byte), one for each token."""

    tokens: Sequence[str]
    types: Sequence[int]
    bos_id: int | None = None
    eos_id: int | None = None
    unk_id: int | None = None
    end_ids: frozenset[int] = field(default_factory=frozenset)
    add_bos: bool = False
    add_eos: bool = False
    lstrip_ids: frozenset[int] = frozenset()  # special tokens that swallow the white space before them
    rstrip_ids: frozenset[int] = frozenset()  # and behind them

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token text -> id; a text held twice is refused, as nobody could say which id is meant."""
        ids = dict(zip(self.tokens, range(len(self.tokens)), strict=True))
        if len(ids) < len(self.tokens):
            second = next(i for i, token in enumerate(self.tokens) if ids[token] != i)
            text = self.tokens[second]
            raise TextError(f"{PREFIX}tokens: {text!r} stands at ids {second} and {ids[text]}")
        return ids

    def of_type(self, *types: int) -> list[int]:
        """Ids whose token type is one of `types`."""
        wanted = frozenset(types)
        return [i for i, kind in enumerate(self.types) if kind in wanted]

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Control and unknown tokens: never text, and never to be read out of a user's text."""
        return frozenset(self.of_type(CONTROL, UNKNOWN))

    def control_id(self, text: str) -> int | None:
        """The control token of that very text, if there is one: what stands in a grammar as a token and not as text."""
        token = self.ids.get(text)
        return token if token in self.special_ids else None

    def check_id(self, token: int) -> int:
        if not 0 <= token < len(self.tokens):
            raise TextError(f"token id {token} is outside the vocabulary of {len(self.tokens)}")
        return token


def vocab_from_gguf(
    keys: Mapping[str, Any], *, bos: int | None, eos: int | None, unk: int | None, add_bos: bool
) -> Vocab:
    """The checked vocabulary in `keys`; the keyword values hold where the file says nothing.

    Raises TextError for lists that are missing and of another length or kind. A special id outside the vocabulary is
    none.
    """
    tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(list_of(keys, "tokens", str))]
    if not tokens:
        raise TextError(f"{PREFIX}tokens: 0 entries, expected at least 1")
    n = len(tokens)
    types = list_of(keys, "token_type", int, length=n) if PREFIX + "token_type" in keys else [NORMAL] * n
    ends = {i for key in END_KEYS if (i := _special_id(keys, key, n)) is not None}
    ends |= {i for i, token in enumerate(tokens) if token in END_TEXTS}
    eos_id = _special_id(keys, "eos_token_id", n, eos)
    if eos_id is not None:
        ends.add(eos_id)
    types = _mark_ends(types, ends, tokens)
    return Vocab(
        tokens=tokens,
        types=types,
        bos_id=_special_id(keys, "bos_token_id", n, bos),
        eos_id=eos_id,
        unk_id=_special_id(keys, "unknown_token_id", n, unk),
        end_ids=_drop_harmony_end(frozenset(ends), tokens),
        add_bos=_flag(keys, "add_bos_token", add_bos),
        add_eos=_flag(keys, "add_eos_token", False),
        lstrip_ids=_lstrip_ids(keys, tokens),
        rstrip_ids=_rstrip_ids(keys, tokens, types),
    )


def list_of(keys: Mapping[str, Any], name: str, kind: type, length: int | None = None) -> list[Any]:
    """The list `tokenizer.ggml.<name>`, each entry a `kind`; arrays of numpy are taken as lists."""
    value = keys.get(PREFIX + name)
    if value is None:
        raise TextError(f"{PREFIX}{name}: missing")
    values = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(values, list | tuple):
        raise TextError(f"{PREFIX}{name}: {type(value).__name__}, expected a list of {kind.__name__}")
    accepted = (int, float) if kind is float else kind
    wrong = next((v for v in values if not isinstance(v, accepted)), None)
    if wrong is not None:
        raise TextError(f"{PREFIX}{name}: {wrong!r:.60}, expected {kind.__name__}")
    if length is not None and len(values) != length:
        raise TextError(f"{PREFIX}{name}: {len(values)} entries, expected {length}")
    return list(values)


def _special_id(keys: Mapping[str, Any], name: str, n_vocab: int, default: int | None = None) -> int | None:
    value = keys.get(PREFIX + name)
    if value is None:
        return default if default is not None and default < n_vocab else None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TextError(f"{PREFIX}{name}: {value!r:.60}, expected an integer")
    return int(value) if 0 <= int(value) < n_vocab else None  # -1 and its kin: how converters write "none"


def _flag(keys: Mapping[str, Any], name: str, default: bool) -> bool:
    value = keys.get(PREFIX + name, default)
    if not isinstance(value, bool | int) and type(value).__name__ not in ("bool", "bool_"):
        raise TextError(f"{PREFIX}{name}: {value!r:.60}, expected a boolean")
    return bool(value)


def _mark_ends(types: list[int], ends: set[int], tokens: Sequence[str]) -> list[int]:
    """An end-of-text token declared as plain text is a control token all the same (a frequent converter's fault)."""
    for i in ends:
        if types[i] != CONTROL and tokens[i] in END_TEXTS:
            types[i] = CONTROL
    return types


def _lstrip_ids(keys: Mapping[str, Any], tokens: Sequence[str]) -> frozenset[int]:
    if keys.get(PREFIX + "pre") not in LSTRIP_RULES:
        return frozenset()
    return frozenset(i for i, token in enumerate(tokens) if token in LSTRIP_TOKENS)


def _rstrip_ids(keys: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]) -> frozenset[int]:
    """Phi 3's own tokens but the oldest ones: as its tokenizer was trained, and as llama.cpp knows it, by name."""
    name = str(keys.get("general.name", "")).lower()
    if not any(model in name for model in RSTRIP_MODELS):
        return frozenset()
    special = {CONTROL, UNKNOWN, USER_DEFINED}
    ids = (i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind in special or token == "</s>")
    return frozenset(i for i in ids if tokens[i] not in RSTRIP_NEVER)


def _drop_harmony_end(ends: frozenset[int], tokens: Sequence[str]) -> frozenset[int]:
    """Where <|return|> and <|call|> end an answer, <|end|> only ends one of its messages."""
    texts = {tokens[i]: i for i in ends}
    if {"<|return|>", "<|call|>", "<|end|>"} <= texts.keys():
        return ends - {texts["<|end|>"]}
    return ends
