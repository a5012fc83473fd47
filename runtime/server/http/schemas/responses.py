"""OpenAI's responses: its newer API for chats."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ..fields import AtLeastOne, Body, FunctionName, Name, Object, Share, Temperature, Text, Top
from .chat import Content, Effort, joined
from .sampling import JsonSchema


class InputMessage(Body):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class InputCall(Body):
    type: Literal["function_call"]
    call_id: Name
    name: FunctionName
    arguments: Text


class InputResult(Body):
    type: Literal["function_call_output"]
    call_id: Name
    output: Content


class ReasoningText(Body):
    type: Literal["reasoning_text"]
    text: Text


class InputReasoning(Body):
    type: Literal["reasoning"]
    content: Annotated[list[ReasoningText], Field(max_length=256)] | None = None


Item = InputMessage | InputCall | InputResult | InputReasoning


class FunctionTool(Body):
    type: Literal["function"]
    name: FunctionName
    description: Text | None = None
    parameters: Object | None = None
    strict: bool | None = None

    def plain(self) -> dict[str, Any]:
        made = {"name": self.name, "parameters": self.parameters or {"type": "object", "properties": {}}}
        return {"type": "function", "function": made | ({"description": self.description} if self.description else {})}


class ChosenTool(Body):
    type: Literal["function"]
    name: FunctionName


class PlainText(Body):
    type: Literal["text", "json_object"]


class SchemaText(JsonSchema):
    type: Literal["json_schema"]


class TextFormat(Body):
    format: PlainText | SchemaText | None = None


class ReasoningWanted(Body):
    effort: Effort | None = None


class ResponseRequest(Body):
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=4096)]
    model: Name | None = None
    user: Name | None = None
    instructions: Text | None = None
    max_output_tokens: AtLeastOne | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_logprobs: Top | None = None
    stream: bool | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextFormat | None = None
    reasoning: ReasoningWanted | None = None
    previous_response_id: None = None  # nothing is kept between requests
    background: Literal[False] | None = None

    def plain_messages(self) -> list[dict[str, Any]]:
        """As OpenAI's messages: what an assistant thought, said and called in a row is one."""
        made: list[dict[str, Any]] = []
        if self.instructions:
            made.append({"role": "system", "content": self.instructions})
        items = [InputMessage(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        for item in items:
            _add(made, item)
        return made


def _add(made: list[dict[str, Any]], item: Item) -> None:
    match item:
        case InputResult():
            made.append({"role": "tool", "tool_call_id": item.call_id, "content": joined(item.output)})
        case InputMessage(role="assistant"):
            _assistant(made)["content"] += joined(item.content)
        case InputMessage():
            role = "system" if item.role == "developer" else item.role
            made.append({"role": role, "content": joined(item.content)})
        case InputCall():
            function = {"name": item.name, "arguments": item.arguments}
            calls = _assistant(made).setdefault("tool_calls", [])
            calls.append({"id": item.call_id, "type": "function", "function": function})
        case InputReasoning():
            thought = "".join(part.text for part in item.content or ())
            _assistant(made)["reasoning_content"] = thought


def _assistant(made: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message that goes on, or a new one."""
    if not made or made[-1]["role"] != "assistant":
        made.append({"role": "assistant", "content": ""})
    return made[-1]
