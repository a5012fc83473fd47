"""How a chat's answer is read: reasoning, calls of tools, and what forces them."""

from collections.abc import Callable

from ..jobs import Grammar
from .endpoint import Call
from .errors import ApiError
from .parsing import Parser, PlainParser
from .schemas.chat import ChatRequest, NamedTool


def parsers_for(call: Call, body: ChatRequest, ids: list[int]) -> tuple[Callable[[], Parser], Grammar | None]:
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
