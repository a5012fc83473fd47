"""The library: chats, with templates, tools and reasoning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vkrun
from vkrun.runtime.engine.chat import ChatAnswer
from vkrun.runtime.errors import TextError, UsageError
from vkrun.runtime.text.answers.deltas import Answer
from vkrun.runtime.text.answers.formats import format_of

TEXT_MODEL = Path(__file__).parent / "golden" / "q8_0.gguf"


@pytest.fixture(scope="module")
def on_cpu() -> Iterator[vkrun.Model]:
    with vkrun.load(TEXT_MODEL, backend="cpu", n_ctx=64) as model:
        yield model


def test_a_chat_is_its_prompt_in_the_models_format(on_cpu: vkrun.Model) -> None:
    messages = [{"role": "user", "content": "hi"}]
    ids = on_cpu.chat_template.prompt(on_cpu.tokenizer, messages).ids
    wanted = "".join(on_cpu.generate(ids, max_tokens=4, temperature=0, stop=on_cpu.chat_template.stops))
    assert "".join(on_cpu.chat(messages, max_tokens=4, temperature=0)) == wanted
    with pytest.raises(TextError, match="chat messages: entry 0 has no role"):
        on_cpu.chat(["hi"])  # type: ignore[list-item]


def test_a_chat_with_a_template_tools_and_reasoning(on_cpu: vkrun.Model) -> None:
    """What is generated is the same; which part of it is what, the prompt and the format say."""
    how: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    text = "".join(on_cpu.generate("import os<think>", **how))
    messages = [{"role": "user", "content": "import"}]
    template = "{{ messages[0].content }}{{ more }}<think>{# <tool_call> #}"
    made = on_cpu.chat(messages, template=template, variables={"more": " os"}, **how)
    assert "".join(made) == "" and made.answer == Answer(reasoning=text.strip())
    assert made.timings.n_generated == 6 == len(made.ids)
    made = on_cpu.chat(messages, template=template, variables={"more": " os"}, reasoning="none", **how)
    assert list(made.deltas()) and made.answer.message() == {"role": "assistant", "content": text}
    with pytest.raises(UsageError, match="template arguments: tools is none"):
        on_cpu.chat(messages, variables={"tools": []})
    with pytest.raises(UsageError, match="no template is called"):
        on_cpu.chat(messages, template="chatlm")


def test_a_call_comes_as_deltas(on_cpu: vkrun.Model) -> None:
    call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    pieces = iter(["Hi", call[:20], call[20:]])
    parser = format_of("<tool_call>").parser([{"name": "f"}])
    answer = ChatAnswer(on_cpu.generate("x", max_tokens=1), parser)
    answer._generation = pieces  # type: ignore[assignment]
    assert [type(delta).__name__ for delta in answer.deltas()][:2] == ["Content", "Call"]
    assert answer.answer.content == "Hi" and answer.answer.calls[0].arguments == '{"a": 1}'
