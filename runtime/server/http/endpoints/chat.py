"""/v1/chat/completions: the answer to messages."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ...jobs import Progress, Token
from ..answers import Answer, Step, begun, whole
from ..asking import Wanted, chat_prompt, jobs_of, new_id
from ..endpoint import Call, Endpoint
from ..errors import Json
from ..figures import chat_logprobs, timings, usage
from ..jobs_done import finished, reason
from ..parsing import Delta
from ..schemas.chat import ChatRequest
from ..schemas.replies import ChatReply
from ..sse import EventStream, Frame
from ..talking import parsers_for


@dataclass
class Chat:
    """One request's answer, in either form."""

    call: Call
    body: ChatRequest
    n: int
    id: str = field(default_factory=lambda: new_id("chatcmpl"))

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        dones = [finished(answer.done) for answer in answers]
        choices = [
            {
                "index": i,
                "message": message_of(answer),
                "finish_reason": reason(dones[i], bool(answer.calls)),
                "logprobs": chat_logprobs(answer.tokens) if self.body.logprobs else None,
            }
            for i, answer in enumerate(answers)
        ]
        return self._head("chat.completion", choices, usage=usage(dones), timings=timings(dones[0]))

    def _head(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.call.created, "model": self.call.served.card.id}
        return {**head, "choices": choices, **more}

    def chunk(self, index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        logprobs = more.pop("logprobs", None)
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._head("chat.completion.chunk", [choice], **more)

    async def frames(self, coming: AsyncGenerator[Step]) -> AsyncIterator[Frame]:
        dones, writers = [], [_Writer(self, i) for i in range(self.n)]
        for i in range(self.n):
            yield None, self.chunk(i, {"role": "assistant", "content": ""})
        async for step in coming:
            if step.progress is not None:
                if self.body.return_progress:
                    yield None, self.chunk(step.index, {}, prompt_progress=_progress(step.progress))
                continue
            for made in writers[step.index].chunks(step):
                yield None, made
            dones += [step.done] if step.done else []
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield None, self._head("chat.completion.chunk", [], usage=usage(dones))
        yield None, b"[DONE]"


@dataclass
class _Writer:
    """The chunks of one choice. Logarithms of probability go with the next words that are certain."""

    chat: Chat
    index: int
    tokens: list[Token] = field(default_factory=list)
    has_calls: bool = False

    def chunks(self, step: Step) -> list[dict[str, Any]]:
        self.tokens += step.tokens if self.chat.body.logprobs else []
        made = []
        for delta in step.deltas:
            self.has_calls |= delta.call is not None
            made.append(self.chat.chunk(self.index, delta_of(delta), logprobs=self._logprobs()))
        if step.done is not None:
            finish, took = reason(step.done, self.has_calls), timings(step.done)
            made.append(self.chat.chunk(self.index, {}, finish, logprobs=self._logprobs(), timings=took))
        return made

    def _logprobs(self) -> dict[str, Any] | None:
        tokens, self.tokens = self.tokens, []
        return chat_logprobs(tokens) if tokens else None


def delta_of(delta: Delta) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if delta.content:
        made["content"] = delta.content
    if delta.reasoning:
        made["reasoning_content"] = delta.reasoning
    if (call := delta.call) is not None:
        head = {"id": call.id, "type": "function"} if call.id else {}
        function = {"name": call.name} if call.name else {}
        function["arguments"] = call.arguments
        made["tool_calls"] = [{"index": call.index, **head, "function": function}]
    return made


def message_of(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message |= {"content": answer.content or None, "tool_calls": answer.calls}
    return message


def _progress(progress: Progress) -> dict[str, Any]:
    return {"total": progress.n_prompt, "cache": progress.n_reused, "processed": progress.n_read}


async def chat(call: Call, body: ChatRequest) -> Response:
    n = body.n or 1
    ids = await chat_prompt(call, body)
    new_parser, grammar = parsers_for(call, body, ids)
    wanted = Wanted(n, body.n_logprobs, stops=call.served.template.stops, grammar=grammar)
    jobs = jobs_of(call, [ids], body, wanted)
    coming, made = await begun(call, jobs, new_parser), Chat(call, body, n)
    if body.stream:
        return EventStream(made.frames(coming), call.served.options.timeout_s)
    return Json(made.whole(await whole(coming, n)))


ENDPOINTS = (
    Endpoint(
        *("POST", "/v1/chat/completions", chat, "The answer to messages"),
        *(ChatRequest, ChatReply),
        streams=True,
        statuses=(429, 503),
    ),
)
