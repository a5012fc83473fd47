"""Answers split into content, reasoning and calls: each family's format, however the text is cut, and broken ones."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.errors import UsageError
from vkrun.runtime.text.answers.deltas import Answer, Arguments, Call, Content, Delta, answer_of, joined
from vkrun.runtime.text.answers.formats import PLAIN, AnswerFormat, format_of
from vkrun.runtime.text.answers.parser import random_ids
from vkrun.runtime.text.answers.section_calls import DeepSeekParser as Deep
from vkrun.runtime.text.answers.section_calls import KimiParser as Kimi
from vkrun.tests.unit.answer_formats import TEMPLATES, dsml

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "any": {"anyOf": [{"type": "object"}, {"type": "null"}, {"type": "array"}]},
    "word": {"type": ["string", "number"]},
    "unit": {"enum": ["C", "F"]},
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": PROPERTIES}}},
    {"type": "function", "function": {"name": "now"}},
]
PARIS = '{"city": "Paris \\"x\\"", "days": 3}'
# Two calls in one answer, as each family writes them
WRITTEN = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": @}\n</tool_call>\n<tool_call>\n{"name": "now", '
    '"arguments": {}}\n</tool_call>',
    "qwen3-coder": '<tool_call>\n<function=weather>\n<parameter=city>\nParis "x"\n</parameter>\n<parameter=days>\n3\n'
    "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
    "glm": '<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris "x"</arg_value>\n<arg_key>days</arg_key>\n'
    "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
    "deepseek": f"{Deep.section}{Deep.call}function{Deep.separator}weather\n```json\n@\n```{Deep.call_end}\n"
    f"{Deep.call}now{Deep.separator}{{}}{Deep.call_end}{Deep.section_end}",
    "deepseek-v3.2": dsml(
        '<@@function_calls>\n<@@invoke name="weather">\n<@@parameter name="city" string="true">'
        'Paris "x"</@@parameter>\n<@@parameter name="days" string="false">3</@@parameter>\n</@@invoke>\n'
        '<@@invoke name="now">\n</@@invoke>\n</@@function_calls>'
    ),
    "lfm2": "<|tool_call_start|>[weather(city='Paris \"x\"', days=3), now()]<|tool_call_end|>",
    "kimi-k2": f"{Kimi.section}{Kimi.call}functions.weather:0{Kimi.separator}@{Kimi.call_end}"
    f"{Kimi.call}functions.now:1{Kimi.separator}{{}}{Kimi.call_end}{Kimi.section_end}",
    "mistral": '[TOOL_CALLS][{"name": "weather", "id": "abcdefghi", "arguments": @}, {"name": "now", "arguments": {}}]',
    "llama3": '{"name": "weather", "parameters": @}; {"type": "function", "name": "now", "parameters": {}}',
    "harmony": "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>@<|call|>"
    "<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|>",
    "nemotron": '<TOOLCALL>[{"name": "weather", "arguments": @}, {"name": "now", "arguments": {}}]</TOOLCALL>',
    "granite": '<|tool_call|>[{"name": "weather", "arguments": @}, {"name": "now", "arguments": {}}]',
    "gemma4": '<|tool_call>call:weather{city:<|"|>Paris "x"<|"|>,days:3}<tool_call|><|tool_call>call:now{}<tool_call|>',
}
TWO = {name: text.replace("@", PARIS) for name, text in WRITTEN.items()}
THOUGHT = {
    "harmony": "<|channel|>analysis<|message|>Let me\nsee.<|end|><|start|>assistant",
    "gemma4": "<|channel>thought\nLet me\nsee.\n<channel|>",
}
SAID = {"harmony": "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"}


def read(kind: AnswerFormat, pieces: list[str], tools: object = TOOLS, **how: object) -> list[Delta]:
    parser = kind.parser(tools, ids=map(str, itertools.count()), **how)  # type: ignore[arg-type]
    out = [delta for piece in pieces for delta in parser.feed(piece)]
    return joined(out + parser.finish() + parser.feed("more") + parser.finish())


def whole(name: str, text: str, **how: object) -> Answer:
    return answer_of(read(format_of(TEMPLATES[name]), [text], **how))


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_tells_the_format(name: str) -> None:
    found = format_of("{% if tools %}..." + TEMPLATES[name])
    assert found.name == name and (found == PLAIN) is (name == "plain")


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("name", TWO)
def test_reasoning_content_and_two_calls(name: str, eager: bool) -> None:
    thought = THOUGHT.get(name, "<think>\nLet me\nsee.\n</think>\n\n")
    said = "" if name == "llama3" else SAID.get(name, "I look.\n")
    answer = whole(name, thought + said + TWO[name], eager=eager)
    assert answer.reasoning == "Let me\nsee." and answer.content == ("I look." if said else "")
    assert [call.name for call in answer.calls] == ["weather", "now"]
    assert [json.loads(call.arguments) for call in answer.calls] == [{"city": 'Paris "x"', "days": 3}, {}]
    assert answer.calls[0].id == {"mistral": "abcdefghi", "kimi-k2": "functions.weather:0"}.get(name, "0")


CASES = {
    **TWO,
    **{f"{name} thinking": THOUGHT.get(name, "<think>\nhm\n</think>\n\n") + "Hi \n\n" + TWO[name] for name in TWO},
}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_where_pieces_end_decides_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CASES)))
    kind, text = format_of(TEMPLATES[name.split()[0]]), CASES[name]
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    broken = text[:start] + data.draw(st.sampled_from(["", " ", "{", "}", "<", '"', "\n", "x", "</"])) + text[stop:]
    text = data.draw(st.sampled_from([text, text[:stop], broken]))
    how = {"eager": data.draw(st.booleans()), "prompt": data.draw(st.sampled_from(["", "<think>\n"]))}
    how |= {"reasoning": data.draw(st.sampled_from(["auto", "none"]))}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    assert read(kind, pieces, **how) == read(kind, list(text), **how) == read(kind, [text], **how)


MARKS = sorted(
    {m for kind in map(format_of, TEMPLATES.values()) for m in kind.shown}
    | {
        "<function=weather>",
        "<parameter=city>",
        "</parameter>",
        "</function>",
        "weather",
        "{",
        "}",
        '"',
        ":",
        " ",
        "\n",
    }
    | {
        '{"name": "weather", "arguments": ',
        "[",
        "]",
        ",",
        "1",
        "[ARGS]",
        "to=functions.now",
        "call:",
        "<tool_",
        "é",
        "x",
    }
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=25), st.sampled_from(sorted(TEMPLATES)), st.booleans(), st.booleans())
def test_whatever_a_model_writes_is_read(parts: list[str], name: str, eager: bool, reasons: bool) -> None:
    """No exception, the same for all cuts, and calls in order; of whole calls only, each a JSON object."""
    kind, how = format_of(TEMPLATES[name]), {"eager": eager, "reasoning": "auto" if reasons else "none"}
    deltas = read(kind, parts, **how)
    assert deltas == read(kind, ["".join(parts)], **how) == read(kind, list("".join(parts)), **how)
    calls = [delta.index for delta in deltas if isinstance(delta, Call)]
    assert calls == list(range(len(calls)))
    assert eager or all(isinstance(json.loads(call.arguments), dict) for call in answer_of(deltas).calls)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=25), st.sampled_from(sorted(TEMPLATES)))
def test_nothing_is_lost_where_there_is_no_call(parts: list[str], name: str) -> None:
    """All that is said stays, but white space at the seams, where no call is found."""
    text = "".join(parts)
    answer = answer_of(read(format_of(TEMPLATES[name]), [text], reasoning="none", eager=False))
    if not answer.calls and name != "harmony":
        assert "".join(answer.content.split()) == "".join(text.split())


BROKEN = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": oops}}\n</tool_call>',
    "qwen3-coder": "<tool_call>\n<function=weather>\n<parameter=city>\nParis",
    "glm": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris",
    "deepseek": f"{Deep.section}{Deep.call}function{Deep.separator}weather\n```json\nno",
    "kimi-k2": f"{Kimi.section}{Kimi.call}functions.weather:0 {{",
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": [1]}]',
    "llama3": '{"name": "weather", "parameters": {"city": "Par',
    "nemotron": "<TOOLCALL>weather</TOOLCALL>",
    "granite": "<|tool_call|>[1, 2]",
    "gemma4": "<|tool_call>call:weather{city:Paris",
    "deepseek-v3.2": dsml('<@@function_calls>\n<@@invoke name="weather">\n<@@parameter name="city" string="false">no'),
    "lfm2": "<|tool_call_start|>[weather(city=open('x'))]<|tool_call_end|>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_calls_are_content(name: str) -> None:
    said = "" if name == "llama3" else "So: "
    answer = whole(name, said + BROKEN[name], eager=False)
    assert answer == Answer(said + BROKEN[name])


def test_a_broken_call_and_a_whole_one_behind_it() -> None:
    answer = whole("hermes", f"<tool_call>{{nonsense</tool_call>{TWO['hermes']} Done.")
    assert answer.content == "<tool_call>{nonsense</tool_call>\n\nDone." and len(answer.calls) == 2


def test_what_was_told_of_a_call_stays_and_the_rest_is_content() -> None:
    deltas = read(format_of("<tool_call>"), ['<tool_call>{"name": "weather", "arguments": {"city": oops}}'])
    assert deltas == [Call(0, "0", "weather"), Arguments(0, '{"city": '), Content("oops}}")]


@pytest.mark.parametrize("name", TWO)
def test_without_tools_calls_are_content(name: str) -> None:
    answer = whole(name, TWO[name], tools=None)
    assert not answer.calls and ("Paris" in answer.content)


def test_arguments_come_while_they_are_made() -> None:
    """Strings too, and as JSON, in formats that write them plain."""
    for name in ("hermes", "qwen3-coder", "glm", "mistral", "deepseek"):
        parser = format_of(TEMPLATES[name]).parser(TOOLS)
        before = TWO[name][: TWO[name].index("is")]
        told = answer_of(d for char in before for d in parser.feed(char))
        assert told.calls[0].arguments == '{"city": "Par', name


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        ("<|im_start|>assistant\n<think>\n", "hm\n</think>\n\nHi", ("Hi", "hm")),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "Hi", ("Hi", "")),
        ("", "<think>hm</think>Hi", ("Hi", "hm")),
        ("", " \n<think> hm </think> Hi ", ("Hi ", "hm")),
        ("", "<think>never ends \n", ("", "never ends")),
        ("", "a <think> b </think> c", ("a <think> b </think> c", "")),
        ("", " <thin", (" <thin", "")),
        ("", "  Hi  \n", ("  Hi  \n", "")),
    ],
)
def test_reasoning(prompt: str, text: str, expected: tuple[str, str]) -> None:
    answer = whole("plain", text, prompt=prompt)
    assert (answer.content, answer.reasoning) == expected
    assert whole("plain", text, prompt=prompt, reasoning="deepseek") == answer
    assert whole("plain", text, prompt=prompt, reasoning="none") == Answer(text)


def test_marks_of_magistral_stand_anywhere() -> None:
    kind = format_of("[THINK][TOOL_CALLS]")
    answer = answer_of(read(kind, ["[THINK]a[/THINK]Hi[THINK]b[/THINK]you"]))
    assert (answer.content, answer.reasoning) == ("Hi\n\nyou", "ab") and "[THINK]" in kind.shown


def test_an_unknown_reasoning_format_is_named() -> None:
    with pytest.raises(UsageError, match="reasoning format: 'loud', expected one of auto, none, deepseek"):
        PLAIN.parser(reasoning="loud")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("city", "12", "12"),
        ("city", "a</parameter> b\n", "a</parameter> b\n"),
        ("city", "</function>", "</function>"),
        ("days", "12", 12),
        ("days", "twelve", "twelve"),
        ("any", "{'a': True}", {"a": True}),
        ("any", '{"a": [1]}', {"a": [1]}),
        ("any", "null", None),
        ("word", "1.5", 1.5),
        ("word", "true", "true"),
        ("unit", "C", "C"),
        ("other", "[1, 2]", [1, 2]),
        ("other", "free text", "free text"),
        ("other", "1e999", "1e999"),
        ("other", "(" * 5000, "(" * 5000),
    ],
)
def test_plain_values_become_the_json_that_the_schema_wants(key: str, value: str, expected: object) -> None:
    coder = f"<tool_call>\n<function=weather>\n<parameter={key}>\n{value}\n</parameter>\n</function>\n</tool_call>"
    glm = f"<tool_call>weather\n<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n</tool_call>"
    for text in (coder, glm):
        (call,) = whole("glm", text).calls
        assert json.loads(call.arguments) == {key: expected}


def test_arguments_in_a_string_and_raw_lines_in_strings() -> None:
    for arguments in ('"{\\"city\\": \\"a\\\\nb\\"}"', '{"city": "a\nb"}'):
        (call,) = whole("hermes", f'<tool_call>{{"name": "weather", "arguments": {arguments}}}</tool_call>').calls
        assert json.loads(call.arguments) == {"city": "a\nb"}


def test_an_object_that_is_no_call_stays_what_it_is() -> None:
    for text in ('{"name": "Bob", "parameters": {"x": 1}}', '{"city": "Paris"}', "{}"):
        assert whole("llama3", text) == Answer(text)


def test_gemmas_arguments() -> None:
    text = '<|tool_call>call:f{a:<|"|>x, b:None,<|"|>,n:None,l:[1.5,<|"|>{c:1}<|"|>,{d:true}]}<tool_call|>'
    (call,) = whole("gemma4", text).calls
    assert json.loads(call.arguments) == {"a": "x, b:None,", "n": None, "l": [1.5, "{c:1}", {"d": True}]}


def test_kimis_first_template_says_nothing_of_calls() -> None:
    assert format_of("{% if tools %}<|im_system|>tool_declare<|im_middle|>").name == "kimi-k2"


def test_the_message_for_the_next_prompt() -> None:
    answer = whole("hermes", '<think>hm</think>Hi<tool_call>{"name": "now"}</tool_call>')
    call = {"id": "0", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    assert answer.message() == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "hm",
        "tool_calls": [call],
    }
    assert Answer("x").message() == {"role": "assistant", "content": "x"}


def test_ids_are_what_mistrals_templates_take() -> None:
    ids = list(itertools.islice(random_ids(), 100))
    assert len(set(ids)) == 100 and all(len(i) == 9 and i.isalnum() and i.isascii() for i in ids)
