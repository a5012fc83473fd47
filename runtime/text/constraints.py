"""Constraints: answers held to a grammar by masks of the tokens that may come next. The parser is llguidance's, an
optional extra, with bounds on the work of hostile grammars."""

from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import TextError, UsageError
from ..extras import brought_by
from .base import Tokenizer
from .grammar import Grammar, one_line

SPACE = r" |\n{1,2}[ \t]{0,20}"  # between a JSON text's parts: small models never come out of more
# of llguidance's parser: some tens of milliseconds to begin with, and a few a token
LIMITS = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
}


class Grammars:
    """Constraints over a tokenizer's vocabulary, which is made ready for them once."""

    def __init__(self, tokenizer: Tokenizer, n_vocab: int) -> None:
        """n_vocab: logits of a token, at least those of the tokenizer."""
        self._tokenizer, self._n_vocab = tokenizer, n_vocab

    def constraint(self, grammar: Grammar) -> "GrammarConstraint":
        """A new answer's. UsageError for a grammar that means nothing or is too complex."""
        engine = _llguidance()
        limits = engine.LLParserLimits(**LIMITS, verbose_errors=False)
        matcher = engine.LLMatcher(self._vocabulary, _compiled(engine, grammar), log_level=0, limits=limits)
        if matcher.is_error():
            raise UsageError(f"{grammar.kind}: {one_line(matcher.get_error())}")
        return GrammarConstraint(matcher, self._n_vocab)

    @cached_property
    def _vocabulary(self) -> Any:
        engine, own = _llguidance(), self._tokenizer
        ends = sorted(own.eos_ids)
        if not ends:
            raise UsageError("grammar: the model's file names no end token")
        wrapper = engine.TokenizerWrapper(_Vocabulary(own, ends[0]))
        return engine.LLTokenizer(wrapper, n_vocab=self._n_vocab, eos_token=ends)


class GrammarConstraint:
    """The state of one answer; see the engine's Constraint."""

    def __init__(self, matcher: Any, n_vocab: int) -> None:
        self._matcher, self._n_words = matcher, -(-n_vocab // 32)

    def mask(self) -> np.ndarray:
        """int32 [ceil(n_vocab / 32)]: a bit for each token that may come next."""
        made = self._matcher.compute_bitmask()
        self._check()
        return np.frombuffer(made, "<i4")[: self._n_words]

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    @property
    def is_over(self) -> bool:
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise TextError(f"grammar: {one_line(self._matcher.get_error())}")


class _Vocabulary:
    """A tokenizer as llguidance asks for it."""

    def __init__(self, tokenizer: Tokenizer, eos_id: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = eos_id, tokenizer.bos_id
        self.tokens = [tokenizer.token_bytes(i, special=True) for i in range(tokenizer.n_vocab)]
        self.special_token_ids = sorted(tokenizer.vocab.special_ids)

    def __call__(self, text: str | bytes) -> list[int]:
        known = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self._tokenizer.encode(known, special=False, bos=False)


def _compiled(engine: Any, grammar: Grammar) -> str:
    try:
        if grammar.kind == "json_schema":
            return engine.LLMatcher.grammar_from_json_schema(grammar.text, overrides={"whitespace_pattern": SPACE})
        return engine.grammar_from(grammar.kind, grammar.text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{grammar.kind}: {one_line(str(error))}") from None


def _llguidance() -> Any:
    try:
        return import_module("llguidance")
    except ImportError as error:
        raise UsageError(f"grammar: needs llguidance ({error}); {brought_by('grammar')} brings it") from None
