"""Answers that have to call tools: what the grammar admits, the parser of the format reads as calls that keep to their
tools' schemas, and what the families write, the grammar admits."""

import functools
import itertools
import json
import random
from typing import Any

import numpy as np
import pytest
from vkrun.runtime.errors import TextError, UsageError
from vkrun.runtime.text.answers.deltas import answer_of
from vkrun.runtime.text.answers.formats import PLAIN, format_of
from vkrun.runtime.text.answers.grammar import answer_grammar, call_grammar
from vkrun.runtime.text.answers.section_calls import DeepSeekParser as Deep
from vkrun.runtime.text.answers.section_calls import KimiParser as Kimi
from vkrun.runtime.text.base import Tokenizer
from vkrun.runtime.text.bpe import LETTER_OF_BYTE
from vkrun.runtime.text.constraints import Grammars
from vkrun.runtime.text.grammar import Grammar
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf
from vkrun.tests.unit.answer_formats import TEMPLATES, dsml

FORMATS = sorted(TEMPLATES.keys() - {"plain"})
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "where"},
        "unit": {"enum": ["C", "F"]},
        "days": {"type": "integer"},
        "near": {"type": "array", "items": {"type": "boolean"}},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
CODE = {
    "type": "object",
    "properties": {"code": {"type": "string", "pattern": "^[a-c]{2,4}$"}},
    "required": ["code"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "code", "parameters": CODE}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "additionalProperties": False}}},
]
END = "<|eos|>"
KINDS = {"string": str, "integer": int, "array": list, "boolean": bool}


@functools.cache
def tokenizer_of(marks: tuple[str, ...]) -> Tokenizer:
    """Bytes, and the marks as control tokens."""
    specials = [END, *dict.fromkeys(marks)]
    keys = {"model": "gpt2", "pre": "gpt-2", "tokens": [*LETTER_OF_BYTE.values(), *specials], "merges": []}
    keys |= {"token_type": [1] * 256 + [3] * len(specials), "eos_token_id": 256}
    return need_tokenizer(tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in keys.items()}))


@functools.cache
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, tokenizer.n_vocab)


def keeps_to(value: Any, schema: dict[str, Any]) -> bool:
    """Whether JSON keeps to a schema made of what those above are made of."""
    if "enum" in schema:
        return value in schema["enum"]
    if schema.get("type") == "object":
        known = schema.get("properties", {})
        has_all = set(schema.get("required", ())) <= value.keys() <= known.keys()
        return has_all and all(keeps_to(v, known[k]) for k, v in value.items())
    if schema["type"] == "array":
        return isinstance(value, list) and all(keeps_to(v, schema["items"]) for v in value)
    return type(value) is KINDS[schema["type"]] and ("pattern" not in schema or set(value) <= set("abc"))


# What a walk through a grammar spells out now and then, so that strings and thoughts end
ENDINGS = (
    '"',
    "</\uff5cDSML\uff5cparameter>",
    "</",
    "</parameter>",
    "</arg_value>",
    "</think>",
    "[/THINK]",
    "<channel|>",
    "<|end|>",
    "1",
    "]",
    "}",
    "\n",
)


def walk(tokenizer: Tokenizer, grammar: Any, rng: random.Random) -> str:
    """An answer of allowed tokens, drawn at random, which the grammar's end has to end."""
    constraint = grammars(tokenizer).constraint(grammar)
    out: list[int] = []
    script: list[int] = []
    while len(out) < 3000 and not constraint.is_over:
        bits = np.unpackbits(constraint.mask().view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits)
        if 256 in allowed and (len(allowed) == 1 or rng.random() < 0.3):
            return tokenizer.decode(out, special=True)
        if not script and rng.random() < 0.3:
            script = tokenizer.encode(rng.choice(ENDINGS))
        token = script.pop(0) if script else -1
        if token not in allowed:
            script, plain = [], [int(t) for t in allowed if t == 10 or 32 <= t < 127] or [int(t) for t in allowed]
            token = rng.choice([t for t in plain if t != 256] or plain)
        constraint.accept(token)
        out.append(token)
    assert constraint.is_over, tokenizer.decode(out, special=True)[-200:]
    return tokenizer.decode(out, special=True)


@pytest.mark.parametrize("as_tokens", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_whatever_the_grammar_admits_is_calls_that_keep_to_their_schemas(name: str, as_tokens: bool) -> None:
    form, rng, schemas = format_of(TEMPLATES[name]), random.Random(name), {"weather": WEATHER, "code": CODE, "now": {}}
    tokenizer = tokenizer_of(form.shown if as_tokens else ())
    grammar = call_grammar(form, TOOLS, tokenizer.vocab.control_id)
    seen: set[str] = set()
    for _ in range(3):
        text = walk(tokenizer, grammar, rng)
        for eager in (True, False):
            parser = form.parser(TOOLS, eager=eager)
            answer = answer_of(parser.feed(text) + parser.finish())
            assert answer.calls and not answer.content, text
            for call in answer.calls:
                schema = {"type": "object", **schemas[call.name]}
                assert keeps_to(json.loads(call.arguments), schema), text
                seen.add(call.name)
    assert seen <= schemas.keys() and seen


ARGUMENTS = '{"city": "Paris", "days": 3}'
WRITTEN = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>',
    "qwen3-coder": "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n"
    "</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>3</arg_value>\n</tool_call>",
    "deepseek": f"{Deep.section}{Deep.call}function{Deep.separator}weather\n```json\n{ARGUMENTS}\n```{Deep.call_end}"
    f"{Deep.section_end}",
    "deepseek-v3.1": f"{Deep.section}{Deep.call}weather{Deep.separator}{ARGUMENTS}{Deep.call_end}{Deep.section_end}",
    "kimi-k2": f"{Kimi.section}{Kimi.call}functions.weather:0{Kimi.separator}{ARGUMENTS}{Kimi.call_end}"
    f"{Kimi.section_end}",
    "mistral": f'[TOOL_CALLS][{{"name": "weather", "arguments": {ARGUMENTS}}}]',
    "mistral-args": f"[TOOL_CALLS]weather[ARGS]{ARGUMENTS}",
    "llama3": f'{{"name": "weather", "parameters": {ARGUMENTS}}}',
    "harmony": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ARGUMENTS}",
    "nemotron": f'<TOOLCALL>[{{"name": "weather", "arguments": {ARGUMENTS}}}]</TOOLCALL>',
    "granite": f'<|tool_call|>[{{"name": "weather", "arguments": {ARGUMENTS}}}]',
    "gemma4": f"<|tool_call>call:weather{ARGUMENTS}<tool_call|>",
    "deepseek-v3.2": dsml(
        '<@@function_calls>\n<@@invoke name="weather">\n<@@parameter name="city" string="true">Paris'
        '</@@parameter>\n<@@parameter name="days" string="false">3</@@parameter>\n</@@invoke>\n</@@function_calls>'
    ),
    "lfm2": f'<|tool_call_start|>[{{"name": "weather", "arguments": {ARGUMENTS}}}]<|tool_call_end|>',
}
THOUGHT = {
    "harmony": "<|channel|>analysis<|message|>hm<|end|><|start|>assistant",
    "gemma4": "<|channel>thought\nhm<channel|>",
}


def admits(tokenizer: Tokenizer, grammar: Any, text: str) -> bool:
    """Whether the text is an answer as a whole."""
    constraint = grammars(tokenizer).constraint(grammar)
    try:
        for token in [*tokenizer.encode(text), 256]:
            constraint.accept(token)
    except TextError:
        return False
    return True


@pytest.mark.parametrize("as_tokens", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_the_grammar_admits_what_the_family_writes(name: str, as_tokens: bool) -> None:
    form = format_of(TEMPLATES[name])
    tokenizer, thought = tokenizer_of(form.shown if as_tokens else ()), THOUGHT.get(name, "<think>hm</think>\n\n")
    control_id = tokenizer.vocab.control_id
    grammar = call_grammar(form, TOOLS, control_id)
    assert admits(tokenizer, grammar, WRITTEN[name]) and admits(tokenizer, grammar, thought + WRITTEN[name])
    assert not admits(tokenizer, grammar, "Hello") and not admits(tokenizer, grammar, WRITTEN[name][:-3])
    assert not admits(tokenizer, grammar, WRITTEN[name].replace("3", "three"))
    assert not admits(tokenizer, call_grammar(form, TOOLS, control_id, name="now"), WRITTEN[name])
    unthinking = call_grammar(form, TOOLS, control_id, name="weather", reasoning=False)
    assert admits(tokenizer, unthinking, WRITTEN[name]) and not admits(tokenizer, unthinking, thought + WRITTEN[name])
    if name not in THOUGHT:
        opened = call_grammar(form, TOOLS, control_id, prompt="<think>\n")
        assert admits(tokenizer, opened, "hm</think>" + WRITTEN[name])


@pytest.mark.parametrize("as_tokens", [True, False])
@pytest.mark.parametrize("name", ["hermes", "harmony", "gemma4"])
def test_content_is_held_to_a_schema_behind_reasoning(name: str, as_tokens: bool) -> None:
    form = format_of(TEMPLATES[name])
    tokenizer, thought = tokenizer_of(form.shown if as_tokens else ()), THOUGHT.get(name, "<think>hm</think>\n\n")
    head = "<|channel|>final<|message|>" if name == "harmony" else ""
    made = answer_grammar(form, Grammar.json(WEATHER), tokenizer.vocab.control_id)
    assert admits(tokenizer, made, head + ARGUMENTS) and admits(tokenizer, made, thought + head + ARGUMENTS)
    assert not admits(tokenizer, made, head + ARGUMENTS[1:]) and not admits(tokenizer, made, thought)
    answer = answer_of((parser := form.parser()).feed(thought + head + ARGUMENTS) + parser.finish())
    assert answer.content == ARGUMENTS and answer.reasoning == "hm"


def test_other_grammars_stand_where_no_reasoning_was_begun() -> None:
    form, gbnf = format_of("<tool_call>"), Grammar("gbnf", 'root ::= "a"')
    assert answer_grammar(form, gbnf, lambda _text: None) is gbnf
    with pytest.raises(UsageError, match="gbnf and reasoning"):
        answer_grammar(form, gbnf, lambda _text: None, prompt="<think>\n")


def test_one_call_or_several() -> None:
    form, tokenizer = format_of("<tool_call>"), tokenizer_of(())
    for parallel, text in itertools.product((True, False), (WRITTEN["hermes"], "\n".join([WRITTEN["hermes"]] * 3))):
        grammar = call_grammar(form, TOOLS, tokenizer.vocab.control_id, parallel=parallel)
        assert admits(tokenizer, grammar, text) is (parallel or text == WRITTEN["hermes"])


def test_what_cannot_be_asked_for_is_named() -> None:
    for form, tools, name, message in (
        (PLAIN, TOOLS, None, "the chat format has no calls of tools"),
        (format_of("<tool_call>"), [], None, "no tools"),
        (format_of("<tool_call>"), TOOLS, "later", "no tool is called 'later'"),
    ):
        with pytest.raises(UsageError, match=message):
            call_grammar(form, tools, lambda _text: None, name)
