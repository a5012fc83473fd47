"""/v1/responses: OpenAI's newer way to ask. Nothing is kept: a conversation comes whole with each request."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from starlette.responses import Response

from ...jobs import Done
from ..answers import Step
from ..asking import new_id
from ..blocks import Block, Blocks, Change
from ..endpoint import Call, Endpoint
from ..errors import Json
from ..figures import chat_logprobs
from ..jobs_done import finished
from ..schemas.chat import ChatRequest
from ..schemas.replies import ResponseReply
from ..schemas.responses import ChosenTool, ResponseRequest, SchemaText
from ..sse import EventStream, Frame
from ..talking import as_chat, talk

_NAMES = {"text": "output_text", "thinking": "reasoning_text", "call": "function_call_arguments"}


def chat_of(body: ResponseRequest) -> ChatRequest:
    choice: Any = body.tool_choice
    if isinstance(choice, ChosenTool):
        choice = {"type": "function", "function": {"name": choice.name}}
    return as_chat(
        messages=body.plain_messages(),
        tools=[tool.plain() for tool in body.tools or ()] or None,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=_format(body),
        max_completion_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        logprobs=body.top_logprobs is not None,
        top_logprobs=body.top_logprobs,
        user=body.user,
        reasoning_effort=body.reasoning.effort if body.reasoning else None,
    )


def _format(body: ResponseRequest) -> dict[str, Any] | None:
    wanted = body.text.format if body.text else None
    if isinstance(wanted, SchemaText):
        return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema_}}
    return {"type": wanted.type} if wanted else None


@dataclass
class Reply:
    """One answer, in either form."""

    call: Call
    body: ResponseRequest
    id: str = field(default_factory=lambda: new_id("resp"))
    blocks: Blocks = field(default_factory=Blocks)
    done: Done | None = None
    numbers: count = field(default_factory=count)
    tokens: list[Any] = field(default_factory=list)

    async def whole(self, coming: AsyncGenerator[Step]) -> dict[str, Any]:
        async for step in coming:
            self._take(step)
        return self._response()

    def _take(self, step: Step) -> list[Change]:
        self.done = step.done or self.done
        self.tokens += step.tokens
        return [*self.blocks.feed(step.deltas), *(self.blocks.close() if step.done else ())]

    def _response(self) -> dict[str, Any]:
        cut = self.done is not None and self.done.reason == "length"
        status = "in_progress" if self.done is None else "incomplete" if cut else "completed"
        said = self.body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.call.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": said.instructions,
            "max_output_tokens": said.max_output_tokens,
            "model": self.call.served.card.id,
            "output": [self._item(block) for block in self.blocks.made],
            "parallel_tool_calls": said.parallel_tool_calls is not False,
            "temperature": said.temperature,
            "top_p": said.top_p,
            "tool_choice": "auto" if said.tool_choice is None else said.model_dump()["tool_choice"],
            "tools": [tool.model_dump() for tool in said.tools or ()],
            "text": {"format": {"type": "text"}},
            "usage": None if self.done is None else _usage(self.done),
        }

    def _item(self, block: Block, status: str = "completed") -> dict[str, Any]:
        id = f"{_PREFIX[block.kind]}_{self.id}_{block.index}"
        if block.kind == "call":
            made = {"type": "function_call", "call_id": block.id, "name": block.name}
            return {"id": id, **made, "arguments": block.text, "status": status}
        parts = [self._part(block)] if status == "completed" else []
        if block.kind == "thinking":
            return {"id": id, "type": "reasoning", "summary": [], "content": parts, "status": status}
        return {"id": id, "type": "message", "role": "assistant", "status": status, "content": parts}

    def _part(self, block: Block, text: str | None = None) -> dict[str, Any]:
        text = block.text if text is None else text
        if block.kind == "thinking":
            return {"type": "reasoning_text", "text": text}
        logprobs = chat_logprobs(self.tokens)["content"] if text else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    async def frames(self, coming: AsyncGenerator[Step]) -> AsyncIterator[Frame]:
        yield self._event("response.created", response=self._response())
        yield self._event("response.in_progress", response=self._response())
        async for step in coming:
            for change in self._take(step):
                for made in self._written(*change):
                    yield made
        finished(self.done)
        status = self._response()["status"]
        yield self._event(f"response.{status}", response=self._response())

    def _event(self, event: str, **values: Any) -> Frame:
        return event, {"type": event, "sequence_number": next(self.numbers), **values}

    def _written(self, what: str, block: Block, text: str) -> list[Frame]:
        match what:
            case "open":
                return self._opened(block)
            case "more":
                logprobs = {"logprobs": []} if block.kind == "text" else {}
                return [self._event(f"response.{_NAMES[block.kind]}.delta", **self._at(block), delta=text, **logprobs)]
        return self._closed(block)

    def _at(self, block: Block) -> dict[str, Any]:
        at = {"item_id": self._item(block)["id"], "output_index": block.index}
        return at if block.kind == "call" else {**at, "content_index": 0}

    def _opened(self, block: Block) -> list[Frame]:
        item = self._item(block, "in_progress")
        made = [self._event("response.output_item.added", output_index=block.index, item=item)]
        if block.kind != "call":
            part = self._part(block, "")
            made.append(self._event("response.content_part.added", **self._at(block), part=part))
        return made

    def _closed(self, block: Block) -> list[Frame]:
        at, item = self._at(block), self._item(block)
        done = f"response.{_NAMES[block.kind]}.done"
        if block.kind == "call":
            made = [self._event(done, **at, name=block.name, arguments=block.text)]
        else:
            part = item["content"][0]
            logprobs = {"logprobs": part["logprobs"]} if block.kind == "text" else {}
            made = [self._event(done, **at, text=block.text, **logprobs)]
            made.append(self._event("response.content_part.done", **at, part=part))
        return [*made, self._event("response.output_item.done", output_index=block.index, item=item)]


_PREFIX = {"text": "msg", "thinking": "rs", "call": "fc"}


def _usage(done: Done) -> dict[str, Any]:
    used = done.usage
    return {
        "input_tokens": used.n_prompt,
        "input_tokens_details": {"cached_tokens": used.n_reused},
        "output_tokens": used.n_generated,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.n_prompt + used.n_generated,
    }


async def responses(call: Call, body: ResponseRequest) -> Response:
    coming, _n_prompt = await talk(call, chat_of(body))
    made = Reply(call, body)
    if body.stream:
        return EventStream(made.frames(coming), call.served.options.timeout_s)
    return Json(await made.whole(coming))


ENDPOINTS = (
    Endpoint(
        *("POST", "/v1/responses", responses, "The answer to a conversation, as OpenAI's newer API has it"),
        *(ResponseRequest, ResponseReply),
        streams=True,
        statuses=(429, 503),
    ),
)
