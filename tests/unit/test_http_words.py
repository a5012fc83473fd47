"""What clients are told of a request, field by field, and the spellings of others that are understood."""

from typing import Any

import pytest
from vkrun.runtime.server.http.options import Options
from vkrun.tests.unit.http_serving import HI, asked, error_of, post, served, words, workers

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]},
         "messages.0.content.0.type: 'image_url', expected 'text', 'input_text' or 'output_text'"),
        (CHAT, {"stop": [str(i) for i in range(20)]}, "stop: a list of 20, expected to have at most 16 items"),
        (CHAT, {"stop": ""}, "stop: '', expected to have at least 1 character"),
        (CHAT, {"temperature": "hot"}, "temperature: 'hot', expected a valid number"),
        (CHAT, {"temperature": "x" * 1000}, "temperature: a text of 1000 characters, expected a valid number"),
        (CHAT, {"reasoning_effort": "huge"}, "reasoning_effort: 'huge', expected 'none', 'minimal', 'low'"),
        (CHAT, {"n": 0}, "n: 0, expected greater than or equal to 1"),
        (CHAT, {"messages": None}, "messages: null, expected a valid list"),
        (CHAT, {"dry_multiplier": 0.8}, "dry_multiplier: 0.8, which vkrun has not; expected 0 or nothing"),
        (CHAT, {"samplers": ["top_p", "top_k"]}, "samplers: top_p, top_k; vkrun asks them in the order penalties"),
        (CHAT, {"samplers": ["best"]}, "samplers: no sampler 'best'; there are penalties"),
        (CHAT, {"logit_bias": [[5, "x"]]}, "logit_bias: expected pairs of a token's number or a text, and a bias"),
        (CHAT, {"logit_bias": {"99999999": 1}}, "logit_bias: token 99999999, the vocabulary has 4096"),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
         "messages.0.content.0: 'image', expected 'text', 'thinking', 'tool_use', 'tool_result'"),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.input_schema: missing"),
        (EMBEDDINGS, {"input": "x", "dimensions": 3}, "dimensions: 3, the model's embeddings have "),
    ],
)  # fmt: skip
def test_an_error_names_the_field_and_both_values(path, fields, message):
    body = {"messages": HI, "max_tokens": 4, **fields}
    response = post(
        served(), path, {name: value for name, value in body.items() if path != EMBEDDINGS or name in fields}
    )
    assert response.status_code == 400
    said = response.json()["error"]
    assert said["message"].startswith(message)
    if path != MESSAGES:
        assert error_of(response)["param"] == message.partition(":")[0]


def test_a_body_that_is_no_object_is_told_so():
    assert error_of(post(served(), CHAT, [1]))["message"] == "body: a list of 1, expected a valid dictionary"


def _biases(value: Any) -> dict[int, float]:
    of = served()
    assert post(of, CHAT, {"messages": HI, "max_tokens": 1, "logit_bias": value}).status_code == 200
    return dict(workers(of).jobs[-1].settings.logit_bias)


def test_biases_by_numbers_and_by_texts():
    tokenizer, _ = words()
    (ret,) = tokenizer.encode(" return", special=False, bos=False)
    assert _biases({"5": -100, " return": 2}) == {5: -100.0, ret: 2.0}
    assert _biases([[5, 1.5], [" return", False], [7, -3]]) == {5: 1.5, ret: -1e6, 7: -3.0}
    digits = tokenizer.encode("15", special=False, bos=False)
    assert _biases([["15", 1.0]]) == dict.fromkeys(digits, 1.0)
    assert _biases({"15": False}) == {15: -1e6}


@pytest.mark.parametrize("samplers", [["top_k", "temperature"], "kt", ["top-k", "temp"]])
def test_samplers_that_a_request_does_not_name_are_off(samplers):
    of = served()
    body = {"messages": HI, "max_tokens": 1, "top_p": 0.5, "repeat_penalty": 1.2, "top_k": 7, "samplers": samplers}
    assert post(of, CHAT, body).status_code == 200
    settings = workers(of).jobs[-1].settings
    assert (settings.top_k, settings.top_p, settings.min_p, settings.repeat_penalty) == (7, 1.0, 0.0, 1.0)


def test_paths_as_llama_servers_clients_spell_them():
    of = served()
    assert post(of, "/chat/completions", {"messages": HI, "max_tokens": 1}).status_code == 200
    assert post(of, "/embeddings", {"input": "x"}).status_code == 200
    assert asked(of, "GET", "/models").json()["data"][0]["id"] == "demo"
    keyed = served(Options(keys=("k",)))
    assert asked(keyed, "GET", "/v1/health").status_code == asked(keyed, "GET", "/health").status_code == 200
    assert asked(keyed, "GET", "/models").status_code == 401


def test_what_no_route_takes_is_named():
    of = served()
    assert error_of(asked(of, "POST", "/infill"))["message"].startswith("POST /infill: no such endpoint")
    wrong = asked(of, "GET", CHAT)
    assert wrong.status_code == 405 and error_of(wrong)["message"] == f"GET {CHAT}: expected POST"
