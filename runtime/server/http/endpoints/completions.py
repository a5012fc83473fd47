"""/v1/completions: text that goes on from a prompt."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ....text.answers.deltas import Content
from ..answers import Answer, Step, begun, whole
from ..asking import Wanted, jobs_of, new_id
from ..endpoint import Call, Endpoint
from ..errors import ApiError, Json
from ..figures import completion_logprobs, timings, usage
from ..jobs_done import finished, reason
from ..parsing import PlainParser
from ..schemas.plain import CompletionRequest
from ..schemas.replies import CompletionReply
from ..sse import EventStream, Frame

N_PREDICT = 16  # OpenAI's, where nothing is said


@dataclass
class Completion:
    """One request's answer, in either form. prompts: texts in front of each choice's, with `echo`."""

    call: Call
    body: CompletionRequest
    n_prompts: int
    prompts: list[str]
    id: str = field(default_factory=lambda: new_id("cmpl"))

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        head = {"id": self.id, "object": "text_completion", "created": self.call.created}
        return {**head, "model": self.call.served.card.id, "choices": choices, **more}

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        dones = [finished(answer.done) for answer in answers]
        choices = [
            {
                "index": i,
                "text": self.prompts[i] + answer.content,
                "finish_reason": reason(dones[i]),
                "logprobs": self._logprobs(answer.tokens, len(self.prompts[i])),
            }
            for i, answer in enumerate(answers)
        ]
        return self.chunk(choices, usage=usage(dones, self.n_prompts), timings=timings(dones[0]))

    def _logprobs(self, tokens: Any, start: int) -> dict[str, Any] | None:
        return None if self.body.logprobs is None else completion_logprobs(tokens, start)

    async def frames(self, coming: AsyncGenerator[Step]) -> AsyncIterator[Frame]:
        dones, lengths = [], [0] * len(self.prompts)
        for i, text in enumerate(self.prompts):
            if text:
                yield None, self.chunk([{"index": i, "text": text, "finish_reason": None, "logprobs": None}])
                lengths[i] = len(text)
        async for step in coming:
            text = "".join(delta.text for delta in step.deltas if isinstance(delta, Content))
            choice = {"index": step.index, "text": text, "finish_reason": None}
            choice["logprobs"] = self._logprobs(step.tokens, lengths[step.index]) if step.tokens else None
            lengths[step.index] += len(text)
            if step.done is not None:
                dones.append(step.done)
                yield None, self.chunk([{**choice, "finish_reason": reason(step.done)}], timings=timings(step.done))
            elif step.progress is None and (text or choice["logprobs"]):
                yield None, self.chunk([choice])
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield None, self.chunk([], usage=usage(dones, self.n_prompts))
        yield None, b"[DONE]"


async def completions(call: Call, body: CompletionRequest) -> Response:
    n = body.n or 1
    if body.best_of is not None and body.best_of != n:
        raise ApiError(400, f"best_of: {body.best_of}, expected n, {n}: every choice made is given", param="best_of")
    if body.echo and body.logprobs is not None:
        raise ApiError(400, "echo and logprobs: those of a prompt's tokens are not told", param="echo")
    prompts = await token_lists(call, body.prompt)
    jobs = jobs_of(call, prompts, body, Wanted(n, body.logprobs, N_PREDICT))
    texts = [call.served.tokenizer.decode(job.ids) if body.echo else "" for job in jobs]
    made = Completion(call, body, len(prompts), texts)
    coming = await begun(call, jobs, PlainParser)
    if body.stream:
        return EventStream(made.frames(coming), call.served.options.timeout_s)
    return Json(made.whole(await whole(coming, len(jobs))))


async def token_lists(call: Call, prompt: str | list[Any]) -> list[list[int]]:
    """A text, several, token ids, or several lists of them."""
    if isinstance(prompt, str):
        return [await call.served.tokens(prompt)]
    if isinstance(prompt[0], int):
        return [prompt]
    return [await call.served.tokens(each) if isinstance(each, str) else each for each in prompt]


ENDPOINTS = (
    Endpoint(
        *("POST", "/v1/completions", completions, "Text that goes on from a prompt"),
        *(CompletionRequest, CompletionReply),
        streams=True,
        statuses=(429, 503),
    ),
)
