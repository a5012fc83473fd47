"""The clients that people use, `openai` and `anthropic`, over `vkrun serve` with models that compute: streaming and
not, with tools, schema and logprobs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from vkrun.runtime.model import BUNDLED
from vkrun.tests.cli.running import MODEL
from vkrun.tests.cli.test_serve import serving

TEMPLATE = Path(__file__).parent / "tools.jinja"
HI = [{"role": "user", "content": "add 1 and 2"}]
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "how": {"enum": ["fast", "slow"]}},
    "required": ["a", "how"],
    "additionalProperties": False,
}
TOOL = {"name": "add", "description": "adds", "parameters": PARAMETERS}


@pytest.fixture(scope="module", params=["golden", pytest.param("bundled", marks=pytest.mark.full)])
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    path = {"golden": MODEL, "bundled": str(BUNDLED)}[request.param]
    with serving(path, "-np", "2", "-c", "2048", "--no-log", "--chat-template-file", str(TEMPLATE)) as server:
        yield server.base


@contextmanager
def openai_at(base: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


def keeps_to_it(arguments: Any) -> bool:
    return set(arguments) == {"a", "how"} and 0 <= arguments["a"] <= 99 and arguments["how"] in ("fast", "slow")


def test_openai_with_logprobs(base: str) -> None:
    how: dict[str, Any] = {"model": "m", "messages": HI, "max_tokens": 6, "temperature": 0, "logprobs": True}
    with openai_at(base) as client:
        made = client.chat.completions.create(**how, top_logprobs=3)
        (choice,) = made.choices
        assert choice.logprobs and made.usage
        each = choice.logprobs.content or []
        assert len(each) == made.usage.completion_tokens <= 6
        assert all(t.top_logprobs[0].logprob == t.logprob <= 0 for t in each)  # greedy: the likeliest itself
        chunks = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == choice.message.content
        assert chunks[-1].usage and chunks[-1].usage.completion_tokens == made.usage.completion_tokens


def test_openai_with_a_schema(base: str) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS, "strict": True}}
    how: dict[str, Any] = {"model": "m", "messages": HI, "response_format": wanted, "max_tokens": 100, "seed": 1}
    with openai_at(base) as client:
        made = client.chat.completions.create(**how).choices[0]
        assert made.finish_reason == "stop" and keeps_to_it(json.loads(made.message.content or ""))
        pieces = [c.choices[0].delta.content or "" for c in client.chat.completions.create(**how, stream=True)]
        assert "".join(pieces) == made.message.content and len(pieces) > 3


def test_openai_with_a_tool(base: str) -> None:
    tools: Any = [{"type": "function", "function": TOOL}]
    how: dict[str, Any] = {"model": "m", "messages": HI, "tools": tools, "tool_choice": "required", "max_tokens": 400}
    with openai_at(base) as client:
        made = client.chat.completions.create(**how, parallel_tool_calls=False, seed=1).choices[0]
        assert made.finish_reason == "tool_calls" and made.message.tool_calls
        (call,) = made.message.tool_calls
        assert call.function.name == "add" and keeps_to_it(json.loads(call.function.arguments))
        deltas = [
            c.choices[0].delta.tool_calls[0]
            for c in client.chat.completions.create(**how, parallel_tool_calls=False, seed=1, stream=True)
            if c.choices and c.choices[0].delta.tool_calls
        ]
        assert deltas[0].function.name == "add"
        assert "".join(d.function.arguments or "" for d in deltas) == call.function.arguments


def test_anthropic_with_a_tool_and_without(base: str) -> None:
    tools: Any = [{"name": "add", "input_schema": PARAMETERS}]
    plain: dict[str, Any] = {"model": "m", "messages": HI, "max_tokens": 6, "extra_body": {"temperature": 0}}
    choice = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}
    held: dict[str, Any] = {**plain, "tools": tools, "tool_choice": choice, "max_tokens": 400}
    with anthropic.Anthropic(base_url=base, api_key="none", max_retries=0) as client:
        made = client.messages.create(**plain)
        assert made.usage.output_tokens <= 6
        with client.messages.stream(**plain) as stream:
            assert "".join(stream.text_stream) == "".join(b.text for b in made.content if b.type == "text")
        called = client.messages.create(**held)
        blocks = [b for b in called.content if b.type == "tool_use"]
        assert called.stop_reason == "tool_use" and len(blocks) == 1
        assert all(b.name == "add" and keeps_to_it(b.input) for b in blocks)
        with client.messages.stream(**held) as stream:
            again = stream.get_final_message()
        assert [b.input for b in again.content if b.type == "tool_use"] == [b.input for b in blocks]
