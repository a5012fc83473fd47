"""Chats as prompts: the model's own template, or a common one where the file has none."""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..errors import TextError, UsageError
from .answers.formats import AnswerFormat, format_of
from .base import Tokenizer
from .messages import Message, check_messages, variants
from .named import TURNS, template_text
from .special import Span
from .template_process import TemplateFailure, TemplateProcess

Kind = Literal["model", "given", "chatml", "plain"]

KEY = "tokenizer.chat_template"
MAX_SOURCE = 1 << 20
OWN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "self", "tokenizer"})

PLAIN = """{%- for message in messages %}
{%- if message.role == 'system' %}{{- (message.content or '') + '\\n\\n' }}
{%- else %}{{- message.role | capitalize + ': ' + (message.content or '') + '\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'Assistant:' }}{%- endif %}"""

# Reasoning marks that templates look for in earlier answers; they open no other speaker's turn.
_REASONING = frozenset({"<think>", "</think>"})


@dataclass(frozen=True)
class ChatPrompt:
    """A rendered chat. `text` without the begin token that `ids` may have in front."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class ChatTemplate:
    """`kind` says where `source` came from; `stops` are texts that end an answer beside the vocabulary's end tokens."""

    source: str
    kind: Kind = "model"
    source_tools: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    process: TemplateProcess = field(default_factory=TemplateProcess, repr=False, compare=False)

    @classmethod
    def from_gguf(
        cls, keys: Mapping[str, Any], tokenizer: Tokenizer | None, given: str | None = None
    ) -> "ChatTemplate":
        """The file's template; without one, ChatML where its tokens are in the vocabulary, else plain lines.

        given: the name or the text of another one, as --chat-template takes it. UsageError for a name that is none.
        """
        variables = _token_texts(keys, tokenizer)
        if given is not None:
            source, stops = template_text(given)
            return cls(_checked("chat template", source), "given", variables=variables, stops=stops)
        source = _source(keys, KEY)
        if source is not None:
            return cls(source, source_tools=_source(keys, KEY + ".tool_use"), variables=variables)
        if tokenizer is not None and {"<|im_start|>", "<|im_end|>"} <= tokenizer.vocab.ids.keys():
            return cls(TURNS["chatml"].source(), "chatml", variables=variables)
        return cls(PLAIN, "plain", variables=variables, stops=("\nUser:", "\nSystem:"))

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **kw: Any,
    ) -> str:
        """The prompt's text. Messages and tools are in OpenAI's form, reasoning of earlier answers is their
        `reasoning_content`; `kw` are further variables of the template, such as enable_thinking.

        Raises TextError for messages without a role, and for a template that fails (naming its line) or that takes
        too long or too much room.
        """
        return self._render(
            messages, tools, {**kw, "add_generation_prompt": add_generation_prompt}, lambda value: value
        )

    def prompt(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool = False,
        **kw: Any,
    ) -> ChatPrompt:
        """The prompt as text and as token ids, in which only the template's own text can spell control tokens.

        What a message says stays text: a user who writes `<|im_end|>` ends nothing. continue_final_message: the prompt
        ends with the content of the last message, a text, for an answer that goes on from there. The rest is as for
        render(); TextError too for a template that leaves that message out.
        """
        guard = _Guard(tokenizer)
        if continue_final_message:
            messages, add_generation_prompt = guard.ended(messages), False
        made = self._render(messages, tools, {**kw, "add_generation_prompt": add_generation_prompt}, guard.cover)
        text, plain = guard.uncover(guard.cut(made) if continue_final_message else made)
        begin = self.variables.get("bos_token")
        has_begin = bool(begin) and text.startswith(begin or "")
        bos = False if has_begin or not tokenizer.vocab.add_bos else None
        return ChatPrompt(text, tokenizer.encode(text, bos=bos, plain=plain))

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        arguments: Mapping[str, Any],
        cover: Callable[[Any], Any],
    ) -> str:
        """cover: applied to messages in the form that the template gets, whose JSON may have been unescaped."""
        check_messages(messages)
        source = self.source_tools if tools and self.source_tools else self.source
        own = {"tools": cover(list(tools)) if tools else None, "documents": None}
        failed: TemplateFailure | None = None
        for form in variants(messages, source):
            try:
                return self.process.render(source, {**self.variables, **arguments, **own, "messages": cover(form)})
            except TemplateFailure as failure:
                failed = failed or failure
        assert failed is not None
        raise failed

    @cached_property
    def answers(self) -> AnswerFormat:
        """How the model writes reasoning and calls, as far as the template shows it."""
        return format_of(self.source_tools or self.source)

    def start(self) -> None:
        """Lets the renderer's process start in the background, while weights load."""
        self.process.start()

    def close(self) -> None:
        self.process.close()


class _Guard:
    """Covers control tokens spelled in messages with marks nobody can guess, and finds them in the rendered text.

    The marks are digits between two noncharacters, so that trimming, changing case or quoting leaves them whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._nonce = str(secrets.randbelow(10**18)).zfill(18)
        self._end = f"\ufdd2{self._nonce}\ufdd3"
        self._covered: list[str] = []

    def cover(self, value: Any, role: str | None = None) -> Any:
        """`value` with every string in it covered, whatever its depth."""
        if isinstance(value, str):
            return self._cover_text(value, _REASONING if role == "assistant" else frozenset())
        if isinstance(value, Mapping):
            role = role or (value["role"] if isinstance(value.get("role"), str) else None)
            return {self.cover(key): self.cover(entry, role) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.cover(entry, role) for entry in value]
        return value

    def ended(self, messages: Sequence[Message]) -> list[Message]:
        """With a mark at the end of the last one's content, which cut() finds."""
        *before, last = messages
        content = last.get("content") or ""
        if not isinstance(content, str):
            raise TextError(f"chat messages: {type(content).__name__}, expected a text to go on from")
        return [*before, {**last, "content": content + self._end}]

    def cut(self, text: str) -> str:
        """A rendered text up to that mark."""
        kept, mark, _ = text.rpartition(self._end)
        if not mark:
            raise TextError("chat template: it leaves out the last message, which the answer is to go on from")
        return kept

    def uncover(self, text: str) -> tuple[str, list[Span]]:
        """The text as it was meant, and the spans of it that are words, not control tokens."""
        parts: list[str] = []
        spans: list[Span] = []
        size = done = 0
        for match in re.finditer(f"\ufdd0{self._nonce}([0-9]+)\ufdd1", text):
            word = self._covered[int(match[1])]
            before = text[done : match.start()]
            parts += [before, word]
            size += len(before) + len(word)
            spans.append((size - len(word), size))
            done = match.end()
        parts.append(text[done:])
        if any(mark in part for part in parts for mark in "\ufdd0\ufdd1"):
            raise TextError(f"chat template: it takes apart {self._covered[0]!r:.60} in a message")
        return "".join(parts), spans

    def _cover_text(self, text: str, allowed: frozenset[str]) -> str:
        text = text.translate({0xFDD0: "\ufffd", 0xFDD1: "\ufffd"})  # noncharacters: nobody's words, but our marks
        done, parts = 0, []
        for start, end in self._tokenizer.special_spans(text):
            if text[start:end] not in allowed:
                parts += [text[done:start], f"\ufdd0{self._nonce}{len(self._covered)}\ufdd1"]
                self._covered.append(text[start:end])
                done = end
        return "".join([*parts, text[done:]])


def _source(keys: Mapping[str, Any], name: str) -> str | None:
    source = keys.get(name)
    if source is None:
        return None
    if not isinstance(source, str):
        raise TextError(f"{name}: {type(source).__name__}, expected a string")
    return _checked(name, source)


def _checked(name: str, source: str) -> str:
    if len(source) > MAX_SOURCE:
        raise TextError(f"{name}: {len(source)} characters, expected at most {MAX_SOURCE}")
    return source


def template_arguments(text: str) -> dict[str, Any]:
    """The variables of --chat-template-kwargs: a JSON object. UsageError for what is none."""
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"template arguments: no JSON ({error}): {text!r:.60}") from None
    if not isinstance(made, dict):
        raise UsageError(f"template arguments: {text!r:.60}, expected a JSON object")
    return check_arguments(made)


def check_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of a template. UsageError for those that are said elsewhere."""
    if taken := [name for name in arguments if name in OWN]:
        raise UsageError(f"template arguments: {taken[0]} is none of them")
    return dict(arguments)


def _token_texts(keys: Mapping[str, Any], tokenizer: Tokenizer | None) -> dict[str, str]:
    """bos_token, eos_token and their kin, by which templates write the vocabulary's own tokens."""
    texts = {"bos_token": "", "eos_token": ""}
    if tokenizer is None:
        return texts
    vocab = tokenizer.vocab
    pad = keys.get("tokenizer.ggml.padding_token_id")
    ids = {"bos_token": vocab.bos_id, "eos_token": vocab.eos_id, "unk_token": vocab.unk_id, "pad_token": pad}
    known = {name: i for name, i in ids.items() if isinstance(i, int) and 0 <= i < tokenizer.n_vocab}
    return texts | {name: vocab.tokens[i] for name, i in known.items()}
