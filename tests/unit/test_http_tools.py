"""Reasoning and calls of tools through each API, whole and in pieces, with the clients that people use."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.jobs import Done, Timings, Token, Usage
from vkrun.tests.unit.http_serving import HI, error_of, post, served, serving, workers

HERMES = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}
{%- endfor %}{#- <tool_call> {"name": ...} </tool_call> #}{{- '<|im_start|>assistant\\n' }}"""
CALLS = [{"name": "add", "arguments": {"a": 1, "b": [2, "é"]}}, {"name": "now", "arguments": {}}]
SAID = "<think>\nhm, so\n</think>\n\nLet me see.\n" + "\n".join(
    f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in CALLS
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array"}}}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "add", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]


def spoken(job: Any) -> Iterator[Any]:
    """A letter or two a token: where pieces end decides nothing."""
    for i in range(0, len(SAID), 3):
        yield Token(5, SAID[i : i + 3])
    yield Done("stop", Usage(9, 3, len(SAID) // 3), Timings())


def ours(options: Options | None = None) -> Any:
    made = served(options, script=spoken)
    made.template = replace(made.template, source=HERMES, kind="model")
    return made


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving(ours()) as base:
        yield base


def arguments(of: Any) -> list[Any]:
    return [{"name": call.function.name, "arguments": json.loads(call.function.arguments)} for call in of]


def test_a_chat_calls_tools(base: str) -> None:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        made = client.chat.completions.create(model="demo", messages=HI, tools=TOOLS).choices[0]
        assert made.finish_reason == "tool_calls" and made.message.content.strip() == "Let me see."
        assert arguments(made.message.tool_calls) == CALLS
        assert made.message.reasoning_content.strip() == "hm, so"
        assert len({call.id for call in made.message.tool_calls}) == 2
        with client.chat.completions.stream(model="demo", messages=HI, tools=TOOLS) as stream:
            chunks = [event.chunk for event in stream if event.type == "chunk"]
            final = stream.get_final_completion().choices[0]
        assert arguments(final.message.tool_calls) == CALLS and final.finish_reason == "tool_calls"
        pieces = [c.choices[0].delta.tool_calls for c in chunks if c.choices and c.choices[0].delta.tool_calls]
        assert len(pieces) > 6  # as they were made, not at the end
        one = client.chat.completions.create(model="demo", messages=HI, tools=TOOLS, parallel_tool_calls=False)
        assert arguments(one.choices[0].message.tool_calls) == CALLS[:1]
        plain = client.chat.completions.create(model="demo", messages=HI, tools=TOOLS, tool_choice="none").choices[0]
        assert (
            plain.message.tool_calls is None
            and plain.finish_reason == "stop"
            and "<tool_call>" in plain.message.content
        )


def test_a_message_calls_tools(base: str) -> None:
    tools: Any = [{"name": "add", "input_schema": SCHEMA}, {"name": "now", "input_schema": {"type": "object"}}]
    with anthropic.Anthropic(base_url=base, api_key="x") as client:
        whole = client.messages.create(model="demo", max_tokens=500, messages=HI, tools=tools)
        with client.messages.stream(model="demo", max_tokens=500, messages=HI, tools=tools) as stream:
            streamed = stream.get_final_message()
        choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
        one = client.messages.create(model="demo", max_tokens=500, messages=HI, tools=tools, tool_choice=choice)
    assert [block.input for block in one.content if block.type == "tool_use"] == [CALLS[0]["arguments"]]
    for made in (whole, streamed):
        assert [block.type for block in made.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert [{"name": block.name, "arguments": block.input} for block in made.content[2:]] == CALLS
        assert made.stop_reason == "tool_use" and made.content[0].thinking.strip() == "hm, so"


def test_a_response_calls_tools(base: str) -> None:
    tools: Any = [{"type": "function", **tool["function"]} for tool in TOOLS]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        whole = client.responses.create(model="demo", input="hi", tools=tools)
        with client.responses.stream(model="demo", input="hi", tools=tools) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_response()
        one = client.responses.create(model="demo", input="hi", tools=tools, parallel_tool_calls=False)
    assert [json.loads(c.arguments) for c in one.output[2:]] == [CALLS[0]["arguments"]]
    assert whole.parallel_tool_calls and not one.parallel_tool_calls
    for made in (whole, streamed):
        assert [item.type for item in made.output] == ["reasoning", "message", "function_call", "function_call"]
        assert [{"name": c.name, "arguments": json.loads(c.arguments)} for c in made.output[2:]] == CALLS
        assert made.output_text.strip() == "Let me see."
    assert kinds.count("response.function_call_arguments.done") == 2


CHOICES = [
    ("required", ["add", "now"]),
    ({"type": "function", "function": {"name": "now"}}, ["now"]),
    ("auto", []),
    (None, []),
]


@pytest.mark.parametrize(("choice", "names"), CHOICES)
def test_an_answer_that_has_to_call_is_held_to_a_grammar(choice: Any, names: list[str]) -> None:
    of = ours()
    made = post(of, "/v1/chat/completions", {"messages": HI, "tools": TOOLS, "tool_choice": choice})
    assert made.status_code == 200
    grammar = workers(of).jobs[0].grammar
    assert (grammar is not None) == bool(names)
    assert [name for name in ("add", "now") if grammar and f'\\"{name}\\"' in grammar.text] == names


def test_who_wants_no_reasoning_gets_a_call_at_once() -> None:
    texts = []
    for effort in ("none", "low"):
        of = ours()
        body = {"messages": HI, "tools": TOOLS, "tool_choice": "required", "reasoning_effort": effort}
        assert post(of, "/v1/chat/completions", body).status_code == 200
        texts.append(workers(of).jobs[0].grammar.text)
    assert len(texts[0]) < len(texts[1]) and "think" in texts[1] and "think" not in texts[0]


def test_a_forced_call_and_a_schema_cannot_both_be() -> None:
    body = {"messages": HI, "tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}}
    assert error_of(post(ours(), "/v1/chat/completions", body))["param"] == "tool_choice"
    plain = post(served(), "/v1/chat/completions", {"messages": HI, "tools": TOOLS, "tool_choice": "required"})
    assert "no calls of tools" in error_of(plain)["message"]


def test_reasoning_stays_where_the_server_or_the_request_wants_it() -> None:
    for of, more in ((ours(Options(reasoning_format="none")), {}), (ours(), {"reasoning_format": "none"})):
        message = post(of, "/v1/chat/completions", {"messages": HI, **more}).json()["choices"][0]["message"]
        assert message["content"].startswith("<think>") and "reasoning_content" not in message


def test_control_tokens_that_a_parser_reads_are_asked_for() -> None:
    of = ours()
    post(of, "/v1/chat/completions", {"messages": HI, "tools": TOOLS})
    assert {"<tool_call>", "</tool_call>"} <= set(workers(of).jobs[0].shown)


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [TOOLS[0], TOOLS[0]]},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_tools_that_cannot_be(more: dict) -> None:
    assert error_of(post(ours(), "/v1/chat/completions", {"messages": HI, **more}))["type"] == "invalid_request_error"
