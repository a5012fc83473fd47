"""/v1/messages: Anthropic's way to ask, and to count what a prompt comes to."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ...jobs import Done
from ..answers import Step
from ..asking import chat_prompt, new_id
from ..blocks import Block, Blocks, Change
from ..endpoint import Call, Endpoint
from ..errors import Json
from ..jobs_done import finished
from ..schemas.chat import ChatRequest
from ..schemas.messages import AnyTool, CountRequest, MessagesRequest
from ..schemas.replies import CountReply, MessageReply
from ..sse import EventStream, Frame
from ..talking import as_chat, talk

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_of(body: CountRequest, **more: Any) -> ChatRequest:
    thinks_not = body.thinking is not None and body.thinking.type == "disabled"
    return as_chat(
        messages=body.plain_messages(),
        tools=body.plain_tools(),
        tool_choice=_choice(body),
        parallel_tool_calls=False if body.tool_choice and body.tool_choice.disable_parallel_tool_use else None,
        reasoning_effort="none" if thinks_not else None,
        **more,
    )


def _choice(body: CountRequest) -> Any:
    if body.tool_choice is None:
        return None
    if isinstance(body.tool_choice, AnyTool):
        return _CHOICES[body.tool_choice.type]
    return {"type": "function", "function": {"name": body.tool_choice.name}}


@dataclass
class Message:
    """One answer, in either form."""

    call: Call
    body: MessagesRequest
    n_prompt: int
    id: str = field(default_factory=lambda: new_id("msg"))
    blocks: Blocks = field(default_factory=Blocks)
    done: Done | None = None

    async def whole(self, coming: AsyncGenerator[Step]) -> dict[str, Any]:
        async for step in coming:
            for _ in self._take(step):
                pass
        content = [_block(block) for block in self.blocks.made]
        return self._message(content, *self._ended(), self._usage())

    def _take(self, step: Step) -> list[Change]:
        self.done = step.done or self.done
        return [*self.blocks.feed(step.deltas), *(self.blocks.close() if step.done else ())]

    def _message(
        self, content: list[Any], reason: str | None, stop: str | None, usage: dict[str, int]
    ) -> dict[str, Any]:
        head = {"id": self.id, "type": "message", "role": "assistant", "model": self.call.served.card.id}
        return {**head, "content": content, "stop_reason": reason, "stop_sequence": stop, "usage": usage}

    def _ended(self) -> tuple[str, str | None]:
        done = finished(self.done)
        if done.reason == "length":
            return "max_tokens", None
        if self.blocks.has_calls:
            return "tool_use", None
        asked = done.stopped_by in (self.body.stop_sequences or ())
        return ("stop_sequence", done.stopped_by) if asked else ("end_turn", None)

    def _usage(self) -> dict[str, int]:
        """Anthropic counts what came from a cache beside the others."""
        used = finished(self.done).usage
        return {
            "input_tokens": used.n_prompt - used.n_reused,
            "cache_read_input_tokens": used.n_reused,
            "cache_creation_input_tokens": 0,
            "output_tokens": used.n_generated,
        }

    async def frames(self, coming: AsyncGenerator[Step]) -> AsyncIterator[Frame]:
        start = self._message([], None, None, {"input_tokens": self.n_prompt, "output_tokens": 0})
        yield _event("message_start", message=start)
        async for step in coming:
            for change in self._take(step):
                if (made := _written(change)) is not None:
                    yield made
        reason, stop = self._ended()
        yield _event("message_delta", delta={"stop_reason": reason, "stop_sequence": stop}, usage=self._usage())
        yield _event("message_stop")


def _event(name: str, **values: Any) -> Frame:
    return name, {"type": name, **values}


def _written(change: Change) -> Frame | None:
    what, block, text = change
    match what:
        case "open":
            return _event("content_block_start", index=block.index, content_block=_block(block, empty=True))
        case "more":
            return _event("content_block_delta", index=block.index, delta=_delta(block, text))
        case "close":
            return _event("content_block_stop", index=block.index)


def _delta(block: Block, text: str) -> dict[str, str]:
    match block.kind:
        case "text":
            return {"type": "text_delta", "text": text}
        case "thinking":
            return {"type": "thinking_delta", "thinking": text}
        case "call":
            return {"type": "input_json_delta", "partial_json": text}


def _block(block: Block, empty: bool = False) -> dict[str, Any]:
    text = "" if empty else block.text
    match block.kind:
        case "text":
            return {"type": "text", "text": text}
        case "thinking":
            return {"type": "thinking", "thinking": text, "signature": ""}
        case "call":
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": _arguments(text)}


def _arguments(text: str) -> Any:
    """An answer that broke off may hold half of them."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


async def messages(call: Call, body: MessagesRequest) -> Response:
    chat = chat_of(
        body,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=body.stop_sequences,
        user=body.metadata.user_id if body.metadata else None,
    )
    coming, n_prompt = await talk(call, chat)
    made = Message(call, body, n_prompt)
    if body.stream:
        return EventStream(made.frames(coming), call.served.options.timeout_s, anthropic=True)
    return Json(await made.whole(coming))


async def count_tokens(call: Call, body: CountRequest) -> Response:
    return Json({"input_tokens": len((await chat_prompt(call, chat_of(body))).ids)})


ENDPOINTS = (
    Endpoint(
        *("POST", "/v1/messages", messages, "The answer to messages, as Anthropic's API has it"),
        *(MessagesRequest, MessageReply),
        streams=True,
        statuses=(429, 503),
    ),
    Endpoint(
        *("POST", "/v1/messages/count_tokens", count_tokens, "How long a prompt would be"),
        *(CountRequest, CountReply),
    ),
)
