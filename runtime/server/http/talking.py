"""A chat under way, whichever API asked for it: its prompt, its jobs, and how the answer is read."""

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import ValidationError

from ...text.answers.grammar import call_grammar
from ...text.grammar import Grammar
from .answers import Step, begun
from .asking import Wanted, chat_prompt, grammar_of, jobs_of, tools_of
from .body import invalid
from .endpoint import Call
from .errors import ApiError
from .parsing import OneCall, Parser
from .schemas.chat import ChatRequest, NamedTool


async def talk(call: Call, body: ChatRequest) -> tuple[AsyncGenerator[Step], int]:
    """What comes of it, and how many tokens the prompt has."""
    _check_choice(body)
    prompt = await chat_prompt(call, body)
    template = call.served.template_for(body.chat_template)
    shown, grammar = template.answers.shown, _forced(call, body, prompt.text)
    wanted = Wanted(body.n or 1, body.n_logprobs, stops=template.stops, grammar=grammar, shown=shown)
    jobs = jobs_of(call, [prompt.ids], body, wanted)
    return await begun(call, jobs, lambda: _parser(call, body, prompt.text)), len(prompt.ids)


def _parser(call: Call, body: ChatRequest, prompt: str) -> Parser:
    """In pieces calls are told of while they are made; whole answers tell of whole calls alone."""
    template = call.served.template_for(body.chat_template)
    reasoning = body.reasoning_format or call.served.options.reasoning_format
    made = template.answers.parser(tools_of(body), prompt, reasoning, eager=bool(body.stream))
    return OneCall(made) if body.parallel_tool_calls is False else made


def _forced(call: Call, body: ChatRequest, prompt: str) -> Grammar | None:
    """What an answer has to be where tool_choice demands a call. UsageError for a format that has none."""
    if body.tool_choice in (None, "none", "auto"):
        return None
    if grammar_of(body) is not None:
        raise ApiError(400, "tool_choice and response_format: an answer cannot be both", param="tool_choice")
    name = body.tool_choice.function.name if isinstance(body.tool_choice, NamedTool) else None
    return call_grammar(
        call.served.template_for(body.chat_template).answers,
        body.plain_tools() or [],
        call.served.tokenizer.vocab.control_id,
        name,
        body.parallel_tool_calls is not False,
        prompt,
        reasoning=body.reasoning_effort != "none",
    )


def _check_choice(body: ChatRequest) -> None:
    names = [tool.function.name for tool in body.tools or ()]
    if len(set(names)) < len(names):
        raise ApiError(400, "tools: two of one name", param="tools")
    if body.tool_choice in (None, "none", "auto"):
        return
    if not names:
        raise ApiError(400, "tool_choice: there are no tools to choose from", param="tool_choice")
    if isinstance(body.tool_choice, NamedTool) and body.tool_choice.function.name not in names:
        raise ApiError(400, "tool_choice: none of the tools", param="tool_choice")


def as_chat(**said: Any) -> ChatRequest:
    """What another API asks, as a chat of OpenAI's."""
    try:
        return ChatRequest.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        raise invalid(error) from None
