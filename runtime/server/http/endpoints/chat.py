"""/v1/chat/completions: the answer to messages."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ....text.answers.deltas import Arguments, Content, Delta, Reasoning
from ....text.answers.deltas import Call as Called
from ...jobs import Progress, Token
from ..answers import Answer, Step, whole
from ..asking import new_id
from ..endpoint import Call, Endpoint
from ..errors import Json
from ..figures import chat_logprobs, timings, usage
from ..jobs_done import finished, reason
from ..schemas.chat import ChatRequest
from ..schemas.replies import ChatReply
from ..sse import EventStream, Frame
from ..talking import talk


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
            self.has_calls |= isinstance(delta, Called)
            made.append(self.chat.chunk(self.index, delta_of(delta), logprobs=self._logprobs()))
        if step.done is not None:
            finish, took = reason(step.done, self.has_calls), timings(step.done)
            made.append(self.chat.chunk(self.index, {}, finish, logprobs=self._logprobs(), timings=took))
        return made

    def _logprobs(self) -> dict[str, Any] | None:
        tokens, self.tokens = self.tokens, []
        return chat_logprobs(tokens) if tokens else None


def delta_of(delta: Delta) -> dict[str, Any]:
    match delta:
        case Content(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case Called(index, id, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}
        case Arguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


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
    coming, _n_prompt = await talk(call, body)
    made = Chat(call, body, body.n or 1)
    if body.stream:
        return EventStream(made.frames(coming), call.served.options.timeout_s)
    return Json(made.whole(await whole(coming, made.n)))


ENDPOINTS = (
    Endpoint(
        *("POST", "/v1/chat/completions", chat, "The answer to messages"),
        *(ChatRequest, ChatReply),
        streams=True,
        statuses=(429, 503),
    ),
)
