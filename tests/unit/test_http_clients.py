"""The Python clients that people use, `openai` and `anthropic`, over a real port: streaming and not."""

import json
from collections.abc import Iterator

import anthropic
import openai
import pytest
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.jobs import Failed, Refused, Token
from vkrun.runtime.text.grammar import Grammar
from vkrun.tests.unit.http_serving import HI, served, serving, workers

SAID = "def add(a, b):\n    return a + b\n"
KEY = "a key"
OURS = served(Options(keys=(KEY,), metrics=True))
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"name": "add", "description": "adds", "parameters": PARAMETERS}


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving(OURS) as base:
        yield base


@pytest.fixture
def client(base: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def caller(base: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "vkrun"


def test_a_chat(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model="demo", messages=HI, logprobs=True, top_logprobs=3, seed=1, n=2)
    assert [choice.message.content for choice in made.choices] == [SAID] * 2
    assert made.choices[0].logprobs and len(made.choices[0].logprobs.content[0].top_logprobs) == 3
    assert made.usage and made.usage.prompt_tokens_details.cached_tokens > 0


def test_a_chat_in_pieces(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo", messages=HI, stream=True, stream_options={"include_usage": True}, logprobs=True
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0 and chunks[-2].choices[0].finish_reason == "stop"
    assert all(c.choices[0].logprobs for c in chunks if c.choices and c.choices[0].delta.content)


def test_the_helper_that_gathers_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="demo", messages=HI) as stream:
        made = stream.get_final_completion()
    assert made.choices[0].message.content == SAID


def test_a_schema_reaches_the_job(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    client.chat.completions.create(model="demo", messages=HI, response_format=wanted)
    assert workers(OURS).jobs[-1].grammar == Grammar("json_schema", json.dumps(schema))


def test_completions(client: openai.OpenAI) -> None:
    made = client.completions.create(model="demo", prompt=["def", "class"], max_tokens=3, logprobs=2, stop="\n")
    assert [c.text for c in made.choices] == ["def add(a"] * 2 and made.choices[0].finish_reason == "length"
    stream = client.completions.create(model="demo", prompt="def", max_tokens=50, stream=True)
    assert "".join(c.choices[0].text for c in stream) == SAID


def test_embeddings_as_numbers_and_as_base64(client: openai.OpenAI) -> None:
    for kind in ("float", "base64"):
        made = client.embeddings.create(model="demo", input=["one", "two"], encoding_format=kind)
        assert len(made.data) == 2 and made.usage.prompt_tokens > 0
    made = client.embeddings.create(model="demo", input="one")  # asks for base64 and unpacks it
    assert made.data[0].embedding == pytest.approx([0.6, 0.8])


def test_responses(client: openai.OpenAI) -> None:
    made = client.responses.create(model="demo", input="hi", instructions="be kind", max_output_tokens=50)
    assert made.output_text == SAID and made.status == "completed" and made.usage.output_tokens > 0
    with client.responses.stream(model="demo", input=[{"role": "user", "content": "hi"}]) as stream:
        events = [event.type for event in stream]
        assert stream.get_final_response().output_text == SAID
    assert events[0] == "response.created" and events[-1] == "response.completed"
    cut = client.responses.create(model="demo", input="hi", max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"


def test_a_conversation_of_responses_becomes_messages(client: openai.OpenAI) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "3"},
    ]
    made = client.responses.create(model="demo", input=items, tools=[{"type": "function", **TOOL}])
    assert made.output_text == SAID


def test_a_message(caller: anthropic.Anthropic) -> None:
    made = caller.messages.create(model="demo", max_tokens=50, messages=HI, system="be kind", stop_sequences=["return"])
    assert made.content[0].text == "def add(a, b):\n    "
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", "return")
    assert made.usage.input_tokens + made.usage.cache_read_input_tokens == len(workers(OURS).jobs[-1].ids)


def test_a_message_in_pieces(caller: anthropic.Anthropic) -> None:
    with caller.messages.stream(model="demo", max_tokens=50, messages=HI) as stream:
        assert "".join(stream.text_stream) == SAID
        made = stream.get_final_message()
    assert made.stop_reason == "end_turn" and made.usage.output_tokens > 0
    cut = caller.messages.create(model="demo", max_tokens=2, messages=HI)
    assert cut.stop_reason == "max_tokens"


def test_a_count_is_what_the_prompt_comes_to(caller: anthropic.Anthropic) -> None:
    n = caller.messages.count_tokens(model="demo", messages=HI).input_tokens
    caller.messages.create(model="demo", max_tokens=5, messages=HI)
    assert n == len(workers(OURS).jobs[-1].ids)


def test_blocks_of_a_message_become_messages(caller: anthropic.Anthropic) -> None:
    said = [
        {"role": "user", "content": [{"type": "text", "text": "add"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "3"}]},
            {"type": "text", "text": "thanks"},
        ]},
    ]  # fmt: skip
    tools = [{"name": "add", "input_schema": PARAMETERS}]
    made = caller.messages.create(model="demo", max_tokens=50, messages=said, tools=tools)
    assert made.content[0].text == SAID


def test_errors_are_the_clients_own_kinds(base: str, client: openai.OpenAI, caller: anthropic.Anthropic) -> None:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
        assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="demo", messages=HI, temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(anthropic.BadRequestError) as worse:
        caller.messages.create(model="demo", max_tokens=0, messages=HI)
    assert worse.value.body["error"]["type"] == "invalid_request_error"
    stranger = anthropic.Anthropic(base_url=base, api_key="wrong", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="demo", max_tokens=5, messages=HI)


def test_a_stream_that_breaks_raises_in_the_clients() -> None:
    ours = served(script=lambda _job: [Token(5, "a"), Failed("the device is lost", 1.0)])
    with serving(ours) as base, openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="the device is lost"):
            list(client.chat.completions.create(model="demo", messages=HI, stream=True))
        with pytest.raises(openai.APIError, match="the device is lost"):
            list(client.responses.create(model="demo", input="hi", stream=True))
        caller = anthropic.Anthropic(base_url=base, api_key="x", max_retries=0)
        with caller, pytest.raises(anthropic.APIStatusError, match="the device is lost"):
            list(caller.messages.create(model="demo", max_tokens=5, messages=HI, stream=True))


def test_the_clients_ask_again_when_too_many_wait() -> None:
    answers = [Refused("too many wait", 0.1, True)]
    ours = served()
    spoken = workers(ours)._spoken
    ours.workers.script = lambda job: [answers.pop()] if answers else spoken(job)  # type: ignore[attr-defined]
    with serving(ours) as base, openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=1) as client:
        made = client.chat.completions.create(model="demo", messages=HI)
        assert made.choices[0].message.content == SAID and answers == []
