"""The Ray Serve application: two workers of one machine behind one front."""

import json
import subprocess
import sys
from typing import Any

import pytest
from vkrun.tests.server.working import MODEL

SCRIPT = """
import json, os, sys, time
import httpx, ray
from ray import serve
from vkrun.serve.ray import Arguments, app

ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": 18431})
serve.run(app(Arguments(model=sys.argv[1], backend="cpu", replicas=2, n_ctx=512, n_seqs=2)), name="vkrun")
http = httpx.Client(base_url="http://127.0.0.1:18431", timeout=60)
until = time.monotonic() + 240  # two processes start for each replica, on cores that others use too
while http.get("/health").status_code != 200 or len(http.get("/slots").json()) != 4:
    if time.monotonic() > until:
        sys.exit(f"not ready: {http.get('/health').text}, {http.get('/slots').text}")
    time.sleep(0.5)

def ask(text, **how):
    body = {"prompt": text, "max_tokens": 6, "temperature": 0, **how}
    return http.post("/v1/completions", json=body)

texts = [f"{i} " + "def add(a, b): return a + b " * 12 for i in range(4)]
first = [ask(text).json() for text in texts]
again = [ask(text).json() for text in texts]
body = {"prompt": texts[0], "max_tokens": 6, "temperature": 0, "stream": True}
with http.stream("POST", "/v1/completions", json=body) as s:
    lines = [json.loads(l[6:]) for l in s.iter_lines() if l.startswith("data: {")]
bad = ask("x" * 9000)
print(json.dumps({"first": first, "again": again, "lines": lines, "bad": [bad.status_code, bad.json()]}))
serve.shutdown()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """What two replicas answered."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(MODEL)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('{"first"')]
    return json.loads(line)


def text(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["text"]


@pytest.mark.full
def test_two_replicas_answer_behind_one_port(said: dict[str, Any]) -> None:
    assert list(map(text, said["first"])) == list(map(text, said["again"]))
    assert "".join(text(line) for line in said["lines"] if line["choices"]) == text(said["first"][0])


@pytest.mark.full
def test_a_prompt_goes_where_its_beginning_was_read(said: dict[str, Any]) -> None:
    for answer in said["again"]:
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64


@pytest.mark.full
def test_what_is_wrong_with_a_request_is_said(said: dict[str, Any]) -> None:
    status, body = said["bad"]
    assert status == 400 and "context of 512" in body["error"]["message"]
