"""`vkrun serve` as a process: options, variables, an answer, and how it ends."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from vkrun.runtime.cli import main
from vkrun.runtime.extras import brought_by
from vkrun.runtime.model import load
from vkrun.tests.cli.running import MODEL, ON_CPU, VKRUN, environment

SECONDS = 120.0


class Serving:
    """A server under way on a port of its own; `lines` is what it said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._ready.wait(SECONDS) and process.poll() is None, self.lines
        (self.base,) = re.findall(r"(http://\S+) listens", "\n".join(self.lines))

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if " is ready on " in line:
                self._ready.set()
        self._ready.set()

    def ask(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        method = "GET" if body is None else "POST"
        return httpx.request(method, self.base + path, json=body, headers=headers, timeout=SECONDS)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code


@contextmanager
def serving(*words: str, room: int | None = None, **changes: str) -> Iterator[Serving]:
    """room: bytes that a file may have, as if the disk were full then (Python would keep half a module then)."""
    command = [VKRUN, "serve", *ON_CPU, "--port", "0", *words]
    limit = None if room is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(**changes), preexec_fn=limit)
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.wait()


def test_it_answers_as_the_library_does_and_ends_when_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    with serving(MODEL, "-np", "2", "-c", "256", "-a", "small", "--api-key-file", str(keys), "--metrics") as server:
        key = {"x-api-key": "two"}
        assert server.ask("/props").status_code == 401
        assert server.ask("/health").json() == {"status": "ok"}
        props = server.ask("/props", **key).json()
        assert (props["model_alias"], props["total_slots"]) == ("small", 2)
        assert props["default_generation_settings"]["n_ctx"] == 128
        body = {"prompt": list(range(5, 15)), "temperature": 0, "max_tokens": 8, "ignore_eos": True}
        made = server.ask("/v1/completions", body, **key).json()
        with load(MODEL, backend="cpu", n_ctx=128) as model:
            wanted = "".join(model.generate(body["prompt"], max_tokens=8, temperature=0, ignore_eos=True))
        assert made["choices"][0]["text"] == wanted and made["usage"]["completion_tokens"] == 8
        again = server.ask("/v1/completions", {**body, "stream": True, "logprobs": 2}, **key)
        frames = [json.loads(line[6:]) for line in again.text.splitlines() if line.startswith("data: {")]
        assert "".join(f["choices"][0]["text"] for f in frames) == wanted
        assert "vkrun:tokens_predicted_total 16.0" in server.ask("/metrics", **key).text
        assert server.end() == 0
        assert [line for line in server.lines if "POST /v1/completions 200" in line]
        assert not [line for line in server.lines if "Traceback" in line or "two" in line]


def test_variables_are_llama_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "LLAMA_ARG_MODEL": MODEL,
        "LLAMA_ARG_N_PARALLEL": "3",
        "LLAMA_ARG_CTX_SIZE": "96",
        "LLAMA_API_KEY": "k",
    }
    with serving("--no-log", LLAMA_ARG_ALIAS="named", LLAMA_ARG_ENDPOINT_SLOTS="0", **variables) as server:
        assert server.ask("/v1/models").status_code == 401
        (model,) = server.ask("/v1/models", authorization="Bearer k").json()["data"]
        assert model["id"] == "named" and model["meta"]["n_ctx"] == 32
        assert server.ask("/slots", authorization="Bearer k").status_code == 404
        assert server.end(signal.SIGINT) == 0
        assert not [line for line in server.lines if "GET" in line]


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_full_disk_costs_what_was_to_be_written_and_no_answer(tmp_path: Path, room: int) -> None:
    kept = tmp_path / "slots"
    kept.mkdir()
    words = (MODEL, "-np", "1", "-c", "256", "--slot-save-path", str(kept))
    body = {"prompt": list(range(5, 45)), "temperature": 0, "max_tokens": 8, "ignore_eos": True}
    with serving(*words, room=room, PYTHONDONTWRITEBYTECODE="1") as server:
        made = server.ask("/v1/completions", body).json()
        failed = server.ask("/slots/0?action=save", {"filename": "a"})
        assert failed.status_code == 400 and "cannot save" in failed.json()["error"]["message"], failed.text
        assert str(tmp_path) not in failed.text and not list(kept.iterdir())
        assert server.ask("/slots/0?action=restore", {"filename": "a"}).status_code == 400
        again = server.ask("/v1/completions", body).json()
        assert again["choices"] == made["choices"] and server.ask("/health").json() == {"status": "ok"}
        assert server.end() == 0 and not [line for line in server.lines if "Traceback" in line]


def test_a_model_of_a_hub_may_be_named_by_variables() -> None:
    variables = {"LLAMA_ARG_HF_REPO": "someone/there-is-none:Q8_0", "LLAMA_ARG_OFFLINE": "1"}
    command = [VKRUN, "serve", *ON_CPU, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(**variables), timeout=SECONDS)
    assert done.returncode != 0 and "someone/there-is-none" in done.stderr and "Traceback" not in done.stderr


REFUSED = [
    (["--api-key", " , "], "--api-key: no key in it"),
    (["--api-key", "clé"], "no header carries"),
    (["--api-key-file", "/absent"], "/absent: cannot read: No such file"),
    (["--ssl-cert-file", "x"], "one without the other"),
    (["--slot-save-path", "/absent"], "is no folder"),
    (["--chat-template-kwargs", "{"], "no JSON"),
    (["--chat-template-kwargs", "[]"], "expected a JSON object"),
    (["--port", "70000"], "70000"),
    (["--temp", "-1"], "temp: -1"),
    (["--rerank"], "not supported"),
    (["--host", "192.0.2.1"], "192.0.2.1"),
    (["-np", "a"], "not a valid integer"),
    (["-m", "other.gguf"], "two models"),
    (["--slto"], "did you mean --slots"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_cannot_be_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["serve", MODEL, *ON_CPU, *words]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main.main(["serve", MODEL, *ON_CPU, "--port", port]) == 1
    assert capsys.readouterr().err == f"vkrun: 127.0.0.1:{port}: Address already in use\n"


WITHOUT = (
    "import sys; sys.modules['uvicorn'] = None; from vkrun.runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


def test_what_is_missing_is_named_with_what_brings_it() -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, "serve", MODEL], capture_output=True, text=True, env=environment()
    )
    wanted = f"vkrun: vkrun serve needs packages that are not here (uvicorn); {brought_by('server')} brings them\n"
    assert (run.returncode, run.stderr) == (1, wanted)


def test_help_needs_none_of_them() -> None:
    run = subprocess.run(
        [VKRUN, "serve", "--help"], capture_output=True, text=True, env=os.environ | {"COLUMNS": "110"}
    )
    assert run.returncode == 0
    for word in ("--api-key-file", "LLAMA_ARG_N_PARALLEL", "--cors-origins", "--cache-ram", "--reasoning-format"):
        assert word in run.stdout
