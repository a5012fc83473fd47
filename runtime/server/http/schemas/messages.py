"""Anthropic's messages."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from ..fields import AtLeastOne, Body, FunctionName, Name, Object, Share, Stops, Temperature, Text
from .sampling import TopK


class TextBlock(Body):
    type: Literal["text"]
    text: Text


class ThinkingBlock(Body):
    type: Literal["thinking"]
    thinking: Text
    signature: Text | None = None


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: Name
    name: FunctionName
    input: Object


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: Name
    content: Text | Annotated[list[TextBlock], Field(max_length=4096)] | None = None
    is_error: bool | None = None


Block = Annotated[TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]


class AnthropicMessage(Body):
    role: Literal["user", "assistant"]
    content: Text | Annotated[list[Block], Field(max_length=4096)]

    def plain(self) -> list[dict[str, Any]]:
        """As OpenAI's messages: results of tools are messages of their own, before what the user says to them."""
        blocks = [TextBlock(type="text", text=self.content)] if isinstance(self.content, str) else self.content
        results = [_result(block) for block in blocks if isinstance(block, ToolResultBlock)]
        rest = [block for block in blocks if not isinstance(block, ToolResultBlock)]
        return results + ([self._said(rest)] if rest or not results else [])

    def _said(self, blocks: list[Any]) -> dict[str, Any]:
        made: dict[str, Any] = {"role": self.role}
        made["content"] = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        if thoughts := "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock)):
            made["reasoning_content"] = thoughts
        if calls := [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]:
            made["tool_calls"] = calls
        return made


def _call(block: ToolUseBlock) -> dict[str, Any]:
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}


def _result(block: ToolResultBlock) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": _joined(block.content)}


def _joined(content: str | list[TextBlock] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


class AnthropicTool(Body):
    name: FunctionName
    description: Text | None = None
    input_schema: Object
    type: Literal["custom"] | None = None

    def plain(self) -> dict[str, Any]:
        made = {"name": self.name, "parameters": self.input_schema}
        return {"type": "function", "function": made | ({"description": self.description} if self.description else {})}


class AnyTool(Body):
    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: bool = False


class ThatTool(Body):
    type: Literal["tool"]
    disable_parallel_tool_use: bool = False
    name: FunctionName


class Thinking(Body):
    type: Literal["enabled", "disabled", "adaptive"]


class CountRequest(Body):
    messages: Annotated[list[AnthropicMessage], Field(min_length=1, max_length=4096)]
    model: Name | None = None
    system: Text | Annotated[list[TextBlock], Field(max_length=4096)] | None = None
    tools: Annotated[list[AnthropicTool], Field(max_length=512)] | None = None
    tool_choice: AnyTool | ThatTool | None = None
    thinking: Thinking | None = None

    def plain_messages(self) -> list[dict[str, Any]]:
        system = [{"role": "system", "content": _joined(self.system)}] if self.system else []
        return [*system, *(each for message in self.messages for each in message.plain())]

    def plain_tools(self) -> list[dict[str, Any]] | None:
        return [tool.plain() for tool in self.tools] if self.tools else None


class MessagesMetadata(Body):
    user_id: Name | None = None


class MessagesRequest(CountRequest):
    max_tokens: AtLeastOne
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    stop_sequences: Stops | None = None
    stream: bool | None = None
    metadata: MessagesMetadata | None = None
