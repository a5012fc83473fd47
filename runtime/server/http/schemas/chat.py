"""OpenAI's chats."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from ..fields import MAX_TOP, Body, Choices, FunctionName, Name, Object, Text, Top
from .sampling import Completing

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TextPart(Body):
    """The one kind of part that a model of text reads."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


Content = Text | Annotated[list[TextPart], Field(max_length=4096)]


class CalledFunction(Body):
    name: FunctionName
    arguments: Text = "{}"


class ToolCall(Body):
    id: Name = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    role: Role
    content: Content | None = None
    name: Name | None = None
    reasoning_content: Text | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=256)] | None = None
    tool_call_id: Name | None = None

    def plain(self) -> dict[str, Any]:
        """As templates take it: what was not said is not there, and content is one text."""
        made: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role}
        made["content"] = joined(self.content)
        for name in ("name", "reasoning_content", "tool_call_id"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        if self.tool_calls:
            made["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return made


def joined(content: str | list[TextPart] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


class Function(Body):
    name: FunctionName
    description: Text | None = None
    parameters: Object | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        made = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": "function", "function": {"parameters": {"type": "object", "properties": {}}, **made}}


class NamedFunction(Body):
    name: FunctionName


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class ForTemplate(Body):
    """What becomes a prompt."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    tools: Annotated[list[Tool], Field(max_length=512)] | None = None
    add_generation_prompt: bool = True
    reasoning_effort: Effort | None = None
    chat_template: Text | None = None
    chat_template_kwargs: Object | None = None

    def plain_messages(self) -> list[dict[str, Any]]:
        return [message.plain() for message in self.messages]

    def plain_tools(self) -> list[dict[str, Any]] | None:
        return [tool.plain() for tool in self.tools] if self.tools else None


class ChatRequest(ForTemplate, Completing):
    n: Choices | None = None
    logprobs: bool | None = None
    top_logprobs: Top | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_format: Literal["none", "auto", "deepseek"] | None = None

    @property
    def n_logprobs(self) -> int | None:
        """As a Job has it."""
        if not self.logprobs:
            return None
        return min(self.top_logprobs or 0, MAX_TOP)


def arguments_of(text: str) -> Any:
    """A call's arguments as values where they are JSON of an object, else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text
