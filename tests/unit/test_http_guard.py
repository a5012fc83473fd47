"""What no request gets past: each check of the guard, and what is bounded behind it."""

import asyncio
import hmac
import json
import math
import socket
from dataclasses import replace

import pytest
from vkrun.runtime.server.http import guard, protocol
from vkrun.runtime.server.http.app import endpoints_of, make_app
from vkrun.runtime.server.http.body import MAX_DEPTH
from vkrun.runtime.server.http.options import OPEN, Options
from vkrun.tests.unit.http_serving import HI, asked, error_of, post, served, serving, workers

KEYS = Options(keys=("first key", "second"))
CHAT = "/v1/chat/completions"
PATHS = [
    (e.method, e.path.replace("{model:path}", "demo").replace("{id_slot:int}", "0")) for e in endpoints_of(served())
]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "LOCALHOST", "localhost."]
)
def test_called_by_its_own_names(host: str) -> None:
    assert asked(served(), "GET", "/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "10.0.0.7", "[::1"]
)
def test_called_by_another_name_as_by_a_page_that_rebinds_its_own(host: str) -> None:
    refused = asked(served(), "GET", "/health", headers={"host": host})
    assert refused.status_code == 403 and error_of(refused)["code"] == "host"


def test_names_that_may_be_used_where_they_were_allowed() -> None:
    ours = served(Options(host="0.0.0.0", hosts=("box.example",)))
    status = [
        asked(ours, "GET", "/health", headers={"host": h}).status_code for h in ("box.example", "10.0.0.7", "x.y")
    ]
    assert status == [200, 200, 403]


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_sites_may_not_call(path: tuple[str, str]) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        refused = asked(served(), *path, headers={"origin": origin})
        assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    strange = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert asked(served(), *path, headers=strange).status_code == 403


def test_the_own_page_may_call_and_no_other_is_told_that_it_may() -> None:
    answer = asked(served(), "GET", "/health", headers={"origin": "http://localhost:8080"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert asked(served(), "OPTIONS", CHAT, headers=PREFLIGHT).status_code == 403


PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "POST"}


def test_a_site_that_was_allowed_may_call() -> None:
    ours = served(Options(origins=("https://app.example",), keys=("k",)))
    answer = asked(ours, "OPTIONS", CHAT, headers=PREFLIGHT)
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers
    other = {**PREFLIGHT, "origin": "https://app.example.evil"}
    assert asked(ours, "OPTIONS", CHAT, headers=other).status_code == 403


@pytest.mark.parametrize("path", [path for path in PATHS if path[1] not in OPEN])
def test_every_path_wants_a_key(path: tuple[str, str]) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": ""}, {"authorization": "Basic second"}):
        refused = asked(served(KEYS), *path, headers=headers)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert asked(served(KEYS), *path, headers={"x-api-key": "second"}).status_code != 401
    assert asked(served(KEYS), *path, headers={"authorization": "bearer first key"}).status_code != 401
    assert asked(served(KEYS), path[0], "/no/such/path").status_code == 401


def test_keys_are_compared_in_constant_time_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def watched(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(guard, "hmac", type("Hmac", (), {"compare_digest": staticmethod(watched)}))
    asked(served(KEYS), "GET", "/props", headers={"x-api-key": "first key"})
    assert len(seen) == len(KEYS.keys)
    assert {len(text) for pair in seen for text in pair} == {32}  # digests: the length of a key is not told either


def test_a_key_is_who_it_is_for_whatever_the_request_says() -> None:
    ours = served(KEYS)
    post(ours, CHAT, {"messages": HI, "user": "somebody"}, headers={"x-api-key": "second"})
    assert workers(ours).jobs[0].user == "key 1"


def test_headers_are_bounded() -> None:
    many = {f"x-{i}": "y" for i in range(200)}
    assert asked(served(), "GET", "/health", headers=many).status_code == 431
    assert asked(served(), "GET", "/health", headers={"x": "y" * 40_000}).status_code == 431
    assert asked(served(), "GET", f"/health?{'q' * 3000}").status_code == 414


SMALL = Options(max_body=1000, timeout_s=0.2)


def test_bodies_are_bounded_whatever_they_say_of_their_length() -> None:
    big = {"messages": [{"role": "user", "content": "x" * 2000}]}
    assert post(served(SMALL), CHAT, big).status_code == 413

    async def pieces():
        for _ in range(50):
            yield b"x" * 100

    headers = {"content-type": "application/json"}
    assert asked(served(SMALL), "POST", CHAT, content=pieces(), headers=headers).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def pieces():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    late = asked(served(SMALL), "POST", CHAT, content=pieces(), headers={"content-type": "application/json"})
    assert late.status_code == 408


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_a_body(kind: str) -> None:
    body = json.dumps({"content": "x"}).encode()
    assert asked(served(), "POST", "/tokenize", content=body, headers={"content-type": kind}).status_code == 415


BODIES = {
    "no JSON": b"{",
    "not UTF-8": b'{"content": "\xff"}',
    "half a pair": b'{"content": "\\ud800"}',
    "too deep": b'{"content": "x", "more": ' + b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2) + b"}",
    "very deep": b"[" * 100_000,
    "NaN": b'{"content": "x", "n": NaN}',
    "a number of many digits": b'{"content": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BODIES)
def test_bad_bodies_are_one_line(name: str) -> None:
    refused = asked(served(), "POST", "/tokenize", content=BODIES[name], headers={"content-type": "application/json"})
    assert refused.status_code == 400 and error_of(refused)


NUMBERS = {
    "temperature": (0, 100),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_k": (-1, 1 << 24),
    "repeat_penalty": (0.1, 10),
    "repeat_last_n": (-1, 1 << 24),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "seed": (-1, 2**53 - 1),
    "max_tokens": (-1, 1 << 24),
    "n_predict": (-1, 1 << 24),
    "max_completion_tokens": (1, 1 << 24),
    "top_logprobs": (0, 20),
    "n": (1, 16),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_finite_and_in_a_closed_range(name: str) -> None:
    low, high = NUMBERS[name]
    ours = served()
    for value in (low, high):
        assert post(ours, CHAT, {"messages": HI, name: value}).status_code == 200
    n_jobs = len(workers(ours).jobs)
    past = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf)] if isinstance(high, float) else []
    for value in ("1e999", "-1e999", "NaN", "Infinity", '"1"', "true", str(low - 1), str(high + 1), "[1]", *past):
        text = json.dumps({"messages": HI, name: 0}).replace(f'"{name}": 0', f'"{name}": {value}')
        refused = asked(ours, "POST", CHAT, content=text.encode(), headers={"content-type": "application/json"})
        assert refused.status_code == 400, value
    assert len(workers(ours).jobs) == n_jobs


@pytest.mark.parametrize("bias", [{"5": 1e999}, {"5": 101}, {"-1": 1}, {"99999999": 1}, {"5": "1"}, {"5": True}])
def test_biases_are_of_tokens_and_finite(bias: dict) -> None:
    text = json.dumps({"messages": HI, "logit_bias": bias}).replace("Infinity", "1e999")
    refused = asked(served(), "POST", CHAT, content=text.encode(), headers={"content-type": "application/json"})
    assert refused.status_code == 400


@pytest.mark.parametrize("name", ["chat_template", "chat_template_kwargs"])
@pytest.mark.parametrize("path", [CHAT, "/apply-template"])
def test_templates_and_their_arguments_come_from_requests_only_where_allowed(name: str, path: str) -> None:
    said = {"chat_template": "{{ messages[0].content }}!", "chat_template_kwargs": {"x": 1}}[name]
    refused = post(served(), path, {"messages": HI, name: said})
    assert refused.status_code == 400 and error_of(refused)["param"] == name
    assert post(served(Options(templates=True)), path, {"messages": HI, name: said}).status_code == 200


def test_a_template_of_a_request_is_used_where_allowed() -> None:
    body = {"messages": HI, "chat_template": "{{ messages[0].content + x }}!", "chat_template_kwargs": {"x": "y"}}
    assert post(served(Options(templates=True)), "/apply-template", body).json() == {"prompt": "hiy!"}
    body["chat_template_kwargs"] = {"messages": []}
    assert post(served(Options(templates=True)), "/apply-template", body).status_code == 400


def test_the_log_has_a_line_a_request_and_no_words_of_it() -> None:
    lines: list[str] = []
    ours = served(replace(KEYS, log=lines.append))
    headers = {"x-api-key": "second"}
    asked(ours, "POST", CHAT + "?secret=1", json={"messages": [{"role": "user", "content": "secret"}]}, headers=headers)
    asked(ours, "GET", "/no%1b[31m%0asecond%E2%80%AE")
    asked(ours, "GET", "/props", headers={"host": "evil.example"})
    assert len(lines) == 3 and CHAT in lines[0] and " 200 " in lines[0] and " 401 " in lines[1] and " 403 " in lines[2]
    assert not [line for line in lines if "secret" in line or not line.isascii() or not line.isprintable()]


def test_what_goes_wrong_inside_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    ours = served(script=lambda _job: [RuntimeError("/tmp/secret/path")])
    for body in ({"messages": HI}, {"messages": HI, "stream": True}):
        answer = post(ours, CHAT, body)
        assert answer.status_code == 500 and "secret" not in answer.text and error_of(answer)
    assert "/tmp/secret/path" in capfd.readouterr().err


def test_browsers_are_told_not_to_guess_or_frame_or_keep() -> None:
    for path in ("/health", "/nope"):
        headers = asked(served(), "GET", path).headers
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cache-control"] == "no-store"


def test_other_protocols_get_nothing() -> None:
    sent = []

    async def call() -> None:
        await make_app(served())({"type": "websocket", "path": "/", "headers": []}, None, sent.append)  # type: ignore[arg-type]

    asyncio.run(call())
    assert sent == []


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(served()) as base:
        address = ("127.0.0.1", int(base.rpartition(":")[2]))
        for sent, answers in ((b"", 0), (whole[:20], 0), (whole + whole[:20], 1), (whole, 1)):
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(sent)
                told = b"".join(iter(lambda c=connection: c.recv(4096), b""))  # until the server closes it
            assert told.count(b'{"status":"ok"}') == answers
