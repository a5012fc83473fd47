"""A chat under way, whichever API asked for it: its prompt, its jobs, and how the answer is read."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

from pydantic import ValidationError

from ..jobs import Grammar
from .answers import Step, begun
from .asking import Wanted, chat_prompt, jobs_of
from .body import invalid
from .endpoint import Call
from .errors import ApiError
from .parsing import Parser, PlainParser
from .schemas.chat import ChatRequest, NamedTool


async def talk(call: Call, body: ChatRequest) -> tuple[AsyncGenerator[Step], int]:
    """What comes of it, and how many tokens the prompt has."""
    ids = await chat_prompt(call, body)
    new_parser, grammar = parsers_for(body)
    wanted = Wanted(body.n or 1, body.n_logprobs, stops=call.served.template.stops, grammar=grammar)
    return await begun(call, jobs_of(call, [ids], body, wanted), new_parser), len(ids)


def parsers_for(body: ChatRequest) -> tuple[Callable[[], Parser], Grammar | None]:
    """A maker of parsers, one a choice, and what forces a call where tool_choice demands it."""
    _check_choice(body)
    return PlainParser, None


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
