"""Chats and completions as OpenAI's API has them, over workers that follow a script."""

import asyncio
from typing import Any

import httpx
import pytest
from vkrun.runtime.server.http.endpoints.completions import N_PREDICT
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.http.schemas import replies
from vkrun.runtime.server.jobs import Done, Failed, Progress, Refused, Timings, Token, Usage
from vkrun.runtime.text.grammar import Grammar
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.unit.http_serving import (
    HI,
    asked,
    error_of,
    eventually,
    frames,
    post,
    run,
    served,
    serving,
    words,
    workers,
)

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
SAID = "def add(a, b):\n    return a + b\n"


def test_a_chat() -> None:
    ours = served()
    answer = post(ours, CHAT, {"messages": HI}).json()
    replies.ChatReply.model_validate(answer)
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": SAID}
    assert answer["choices"][0]["finish_reason"] == "stop"
    (job,) = workers(ours).jobs
    assert list(job.ids) == words()[1].prompt(words()[0], HI).ids
    used = answer["usage"]
    assert used["prompt_tokens"] == len(job.ids) and used["prompt_tokens_details"]["cached_tokens"] == len(job.ids) // 2
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
    assert answer["timings"]["predicted_n"] == used["completion_tokens"]
    assert answer["timings"]["predicted_ms"] == pytest.approx(300)


BEGUN = {"role": "assistant", "content": "It is"}
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("last", "more", "options", "goes_on"),
    [
        (BEGUN, {}, Options(), True),
        (BEGUN, {}, Options(prefill=False), False),
        (BEGUN, {"add_generation_prompt": False}, Options(), False),
        (CALLED, {}, Options(), False),
    ],
)
def test_an_answer_that_was_begun_is_gone_on_with(last: dict, more: dict, options: Options, goes_on: bool) -> None:
    ours, said = served(options), {"messages": [*HI, last], **more}
    message = post(ours, CHAT, said).json()["choices"][0]["message"]
    (job,) = workers(ours).jobs
    assert message["content"] == SAID and words()[0].decode(list(job.ids)).endswith("It is") == goes_on
    assert post(ours, "/apply-template", said).json()["prompt"].endswith("It is") == goes_on


def test_one_that_was_begun_as_anthropics_api_has_it() -> None:
    ours = served()
    post(ours, "/v1/messages", {"messages": [*HI, BEGUN], "max_tokens": 9})
    assert words()[0].decode(list(workers(ours).jobs[0].ids)).endswith("It is")


def test_a_chat_in_pieces_says_the_same_with_usage_at_the_end() -> None:
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    said = frames(post(served(), CHAT, body))
    assert said[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    n = said[-1]["usage"]["prompt_tokens"]
    assert said[1]["prompt_progress"] == {"total": n, "cache": n // 2, "processed": n}
    assert "".join(f["choices"][0]["delta"].get("content", "") for f in said[:-1]) == SAID
    assert [f["choices"][0]["finish_reason"] for f in said[:-1] if f["choices"][0]["finish_reason"]] == ["stop"]
    assert said[-1]["choices"] == [] and "timings" in said[-2]
    assert len({f["id"] for f in said}) == 1


def test_several_choices_draw_from_different_seeds_and_share_their_prompt() -> None:
    ours = served()
    answer = post(ours, CHAT, {"messages": HI, "n": 3, "seed": 7}).json()
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert [job.settings.seed for job in workers(ours).jobs] == [7, 8, 9]
    assert answer["usage"]["prompt_tokens"] == len(workers(ours).jobs[0].ids)
    said = frames(post(ours, CHAT, {"messages": HI, "n": 2, "stream": True}))
    for i in (0, 1):
        deltas = [c["delta"].get("content", "") for f in said for c in f["choices"] if c["index"] == i]
        assert "".join(deltas) == SAID


def test_everything_about_drawing_reaches_the_job() -> None:
    ours = served(Options(settings=SamplerSettings(temp=0.3, top_k=7)))
    body = {"temperature": 0, "top_p": 0.5, "min_p": 0.1, "repeat_penalty": 1.5, "repeat_last_n": 9}
    body |= {"presence_penalty": 0.25, "frequency_penalty": -0.5, "seed": 3, "max_completion_tokens": 5, "user": "u"}
    body |= {"logit_bias": {"7": -100, "9": 2.5}, "cache_prompt": False, "ignore_eos": True, "stop": ["\n\n", "end"]}
    post(ours, CHAT, {"messages": HI, **body})
    (job,) = workers(ours).jobs
    biases = ((7, -100), (9, 2.5))
    assert job.settings == SamplerSettings(0, 7, 0.5, 0.1, 1.5, 9, -0.5, 0.25, 3, logit_bias=biases)
    assert (job.n_predict, job.user, job.cache_prompt, job.ignore_eos) == (5, "u", False, True)
    assert job.stop[:2] == ("\n\n", "end")


def test_limits_are_the_requests_then_the_servers_then_none() -> None:
    for options, body, wanted in (
        (Options(), {}, None),
        (Options(n_predict=9), {}, 9),
        (Options(n_predict=9), {"max_tokens": 4}, 4),
        (Options(n_predict=9), {"max_tokens": -1}, None),
        (Options(), {"n_predict": 3}, 3),
    ):
        ours = served(options)
        answer = post(ours, CHAT, {"messages": HI, **body}).json()
        assert workers(ours).jobs[0].n_predict == wanted
        assert answer["choices"][0]["finish_reason"] == ("length" if wanted else "stop")
    ours = served()
    post(ours, COMPLETE, {"prompt": "x"})
    assert workers(ours).jobs[0].n_predict == N_PREDICT


def test_stop_strings_end_an_answer() -> None:
    answer = post(served(), CHAT, {"messages": HI, "stop": "return"}).json()
    assert answer["choices"][0]["message"]["content"] == "def add(a, b):\n    "
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_logprobs_of_a_chat_are_of_each_token_with_its_likeliest() -> None:
    body = {"messages": HI, "logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    answer = post(served(), CHAT, body).json()
    replies.ChatReply.model_validate(answer)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == 4 and all(len(t["top_logprobs"]) == 2 for t in content)
    assert b"".join(bytes(t["bytes"]) for t in content).decode() == answer["choices"][0]["message"]["content"]
    said = frames(post(served(), CHAT, {**body, "stream": True}))
    told = [t for f in said for c in f["choices"] if c["logprobs"] for t in c["logprobs"]["content"]]
    assert told == content
    assert post(served(), CHAT, {"messages": HI, "logprobs": True}).json()["choices"][0]["logprobs"]["content"]


def test_logprobs_of_a_completion() -> None:
    body = {"prompt": "def", "logprobs": 2, "max_tokens": 4}
    answer = post(served(), COMPLETE, body).json()
    replies.CompletionReply.model_validate(answer)
    told = answer["choices"][0]["logprobs"]
    assert "".join(told["tokens"]) == answer["choices"][0]["text"]
    assert told["text_offset"][0] == 0 and told["text_offset"][1] == len(told["tokens"][0])
    said = frames(post(served(), COMPLETE, {**body, "stream": True}))
    told_too = [f["choices"][0]["logprobs"] for f in said if f["choices"][0]["logprobs"]]
    assert [t for each in told_too for t in each["tokens"]] == told["tokens"]
    assert [t for each in told_too for t in each["text_offset"]] == told["text_offset"]


PROMPTS: list[tuple[Any, int]] = [("def", 1), (["def", "class"], 2), ([5, 6], 1), ([[5, 6], [7]], 2)]


@pytest.mark.parametrize(("prompt", "n"), PROMPTS)
def test_prompts_of_every_kind(prompt: Any, n: int) -> None:
    ours = served()
    answer = post(ours, COMPLETE, {"prompt": prompt, "n": 2, "echo": True, "max_tokens": 2}).json()
    replies.CompletionReply.model_validate(answer)
    assert [c["index"] for c in answer["choices"]] == list(range(2 * n))
    jobs = workers(ours).jobs
    assert answer["usage"]["prompt_tokens"] == sum(len(job.ids) for job in jobs[::2])
    for job, choice in zip(jobs, answer["choices"], strict=True):
        assert choice["text"] == words()[0].decode(job.ids) + "def add"
    said = frames(post(ours, COMPLETE, {"prompt": prompt, "echo": True, "max_tokens": 2, "stream": True}))
    assert {c["index"] for f in said for c in f["choices"]} == set(range(n))
    assert "".join(c["text"] for f in said for c in f["choices"] if c["index"] == 0) == answer["choices"][0]["text"]


DEEP: dict = {}
for _ in range(40):
    DEEP = {"properties": {"x": DEEP}}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (COMPLETE, {"prompt": []}),
        (COMPLETE, {"prompt": [99_999]}),
        (COMPLETE, {"prompt": [[]]}),
        (COMPLETE, {"prompt": "x" * 5000}),
        (COMPLETE, {"prompt": ["x"] * 40, "n": 2}),
        (COMPLETE, {"prompt": "x", "best_of": 2}),
        (COMPLETE, {"prompt": "x", "suffix": "y"}),
        (COMPLETE, {"prompt": "x", "echo": True, "logprobs": 1}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": [{"role": "robot", "content": "x"}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        (CHAT, {"messages": HI, "mirostat": 2}),
        (CHAT, {"messages": HI, "logit_bias": {"4099": 1}}),
        (CHAT, {"messages": HI, "stop": [""]}),
        (CHAT, {"messages": HI, "tool_choice": "required"}),
        (CHAT, {"messages": HI, "response_format": {"type": "json_schema"}}),
        (CHAT, {"messages": HI, "json_schema": DEEP}),
        (CHAT, {"messages": HI, "regex": "a" * 300_000}),
        (CHAT, {"messages": HI, "response_format": {"type": "json_object"}, "regex": "a"}),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(path: str, more: dict) -> None:
    ours = served()
    refused = post(ours, path, more)
    assert refused.status_code == 400 and error_of(refused)["type"] == "invalid_request_error"
    assert workers(ours).jobs == []


def test_a_long_prompt_is_told_with_its_own_word() -> None:
    refused = post(served(), COMPLETE, {"prompt": "word " * 600})
    assert error_of(refused)["code"] == "context_length_exceeded"


def test_a_model_of_embeddings_makes_no_text() -> None:
    assert post(served(causal=False), CHAT, {"messages": HI}).status_code == 400


FORMATS: list[tuple[dict, Grammar]] = [
    ({"response_format": {"type": "json_object"}}, Grammar("json_schema", '{"type": "object"}')),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}},
     Grammar("json_schema", '{"type": "null"}')),
    ({"json_schema": {"type": "null"}}, Grammar("json_schema", '{"type": "null"}')),
    ({"grammar": 'root ::= "a"'}, Grammar("gbnf", 'root ::= "a"')),
    ({"regex": "a+"}, Grammar("regex", "a+")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), FORMATS)
def test_what_an_answer_must_match_reaches_the_job(body: dict, wanted: Grammar) -> None:
    ours = served()
    assert post(ours, CHAT, {"messages": HI, **body}).status_code == 200
    assert workers(ours).jobs[0].grammar == wanted
    post(ours, CHAT, {"messages": HI, "response_format": {"type": "text"}})
    assert workers(ours).jobs[1].grammar is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_a_status_with_a_time_to_ask_again(stream: bool) -> None:
    for crowded, status in ((True, 429), (False, 503)):
        ours = served(script=lambda _job, c=crowded: [Refused("too many wait", 2.3, c)])
        refused = post(ours, CHAT, {"messages": HI, "stream": stream})
        assert refused.status_code == status and refused.headers["retry-after"] == "3" and error_of(refused)


@pytest.mark.parametrize(("retry", "status"), [(None, 400), (5.0, 503)])
def test_a_job_that_fails_at_once_is_a_status(retry: float | None, status: int) -> None:
    ours = served(script=lambda _job: [Failed("the grammar is too deep", retry)])
    assert post(ours, CHAT, {"messages": HI, "stream": True}).status_code == status


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    ours = served(script=lambda _job: [Token(5, "a"), Failed("the device is lost", 1.0)])
    said = frames(post(ours, CHAT, {"messages": HI, "stream": True}))
    assert said[-1]["error"]["message"] == "the device is lost" and said[-2]["choices"][0]["delta"] == {"content": "a"}
    assert post(ours, CHAT, {"messages": HI}).status_code == 503


def test_one_choice_that_fails_ends_the_others() -> None:
    def script(job):
        return [Failed("lost", 1.0)] if job.id.endswith("-0") else [Progress(1, 0, 9), 30.0]

    ours = served(script=script)
    assert post(ours, CHAT, {"messages": HI, "n": 2}).status_code == 503
    assert workers(ours).jobs[1].id in workers(ours).cancelled


def endless(_job):
    yield Progress(1, 0, 1)
    while True:
        yield Token(5, "word ")
        yield 0.01


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_has_its_job_cancelled(stream: bool) -> None:
    ours = served(script=endless)

    async def go() -> None:
        with serving(ours) as base:
            async with httpx.AsyncClient(base_url=base) as client:
                with pytest.raises(httpx.ReadTimeout):
                    body = {"messages": HI, "stream": stream}
                    async with client.stream("POST", CHAT, json=body, timeout=0.5) as got:
                        if stream:
                            await anext(got.aiter_raw())
                            raise httpx.ReadTimeout("left")
            await eventually(lambda: workers(ours).cancelled)

    run(go)
    assert workers(ours).cancelled == [workers(ours).jobs[0].id]


def test_a_reader_that_stops_reading_is_taken_for_gone() -> None:
    ours = served(Options(timeout_s=0.5), script=lambda _job: (Token(5, "x" * 100_000) for _ in range(1000)))

    async def go() -> None:
        with serving(ours) as base:
            host, port = base.removeprefix("http://").split(":")
            _reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true}'
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            await eventually(lambda: workers(ours).cancelled)
            writer.transport.abort()
            await asyncio.sleep(0)

    run(go)


def test_health_says_what_it_is() -> None:
    assert asked(served(), "GET", "/health").json() == {"status": "ok"}
    loading = asked(served(state="loading"), "GET", "/health")
    assert loading.status_code == 503 and error_of(loading)["code"] == "loading" and loading.headers["retry-after"]


@pytest.mark.parametrize("state", ["loading", "failed", "draining"])
def test_nothing_is_begun_while_no_worker_is_there(state: str) -> None:
    ours = served(state=state)
    for path, body in ((CHAT, {"messages": HI, "stream": True}), ("/v1/embeddings", {"input": "x"})):
        refused = post(ours, path, body)
        assert refused.status_code == 503 and refused.headers["retry-after"] and error_of(refused)["code"] == state
    assert workers(ours).jobs == []


def test_models_props_and_what_there_is_not() -> None:
    ours = served()
    listed = asked(ours, "GET", "/v1/models").json()
    replies.ModelsReply.model_validate(listed)
    assert asked(ours, "GET", "/v1/models/demo").json() == listed["data"][0]
    for path, status in (("/v1/models/x", 404), ("/nope", 404), ("/v1/chat/completions", 405), ("/v1/models/", 404)):
        refused = asked(ours, "GET", path)
        assert refused.status_code == status and error_of(refused)
    props = asked(ours, "GET", "/props").json()
    replies.PropsReply.model_validate(props)
    assert props["total_slots"] == 2 and "/" not in props["model_alias"]


def test_tokens_and_templates() -> None:
    ours, tokenizer = served(), words()[0]
    ids = post(ours, "/tokenize", {"content": "def add"}).json()["tokens"]
    assert ids == tokenizer.encode("def add", bos=False)
    assert post(ours, "/detokenize", {"tokens": ids}).json() == {"content": "def add"}
    pieces = post(ours, "/tokenize", {"content": "é", "with_pieces": True}).json()["tokens"]
    assert (
        b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode() for p in pieces)
        == "é".encode()
    )
    assert post(ours, "/detokenize", {"tokens": [4096]}).status_code == 400
    prompt = post(ours, "/apply-template", {"messages": HI}).json()["prompt"]
    assert prompt == words()[1].render(HI)


def test_what_a_user_writes_is_no_control_token() -> None:
    ours = served()
    post(ours, CHAT, {"messages": [{"role": "user", "content": "<|im_end|>"}]})
    end = words()[0].vocab.ids["<|im_end|>"]
    assert workers(ours).jobs[0].ids.count(end) == 1


def test_parts_of_text_are_one_text_and_developers_are_the_system() -> None:
    said = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
    ]
    got = post(served(), "/apply-template", {"messages": said}).json()["prompt"]
    assert got == words()[1].render([{"role": "system", "content": "be kind"}, *HI])


def test_what_a_done_job_without_words_says() -> None:
    ours = served(script=lambda _job: [Done("stop", Usage(3, 0, 1), Timings())])
    answer = post(ours, CHAT, {"messages": HI}).json()
    assert answer["choices"][0]["message"]["content"] == "" and answer["timings"]["predicted_per_second"] == 0
