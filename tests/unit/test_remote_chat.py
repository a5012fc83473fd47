"""`vkrun chat --server`: against the application over a port, its answers and what it says where there is none."""

import io
from typing import Any

import pytest
from vkrun.runtime.cli import main
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.jobs import Failed, Token
from vkrun.tests.unit.http_serving import served, serving, workers

SAID = "def add(a, b):\n    return a + b\n"


def chat(base: str, *words: str) -> int:
    return main.main(["chat", "--server", base, *words])


def test_one_message(capsys: Any) -> None:
    ours = served()
    with serving(ours) as base:
        assert chat(base, "-p", "hi", "-sys", "be kind", "-n", "50", "--temp", "0", "--stats") == 0
    told = capsys.readouterr()
    assert told.out == SAID and "tokens per second" in told.err
    (job,) = workers(ours).jobs
    assert job.n_predict == 50 and job.settings.temp == 0 and job.settings.top_k == 40


def test_a_conversation_grows_and_is_forgotten(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    ours = served()
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\nmore\n/clear\nanew\n/nothing\n/help\n/stats\n"))
    with serving(ours) as base:
        assert chat(f"{base}/v1/") == 0
    sizes = [len(job.ids) for job in workers(ours).jobs]
    assert sizes[0] < sizes[1] and abs(sizes[2] - sizes[0]) < 3
    told = capsys.readouterr()
    assert told.out == SAID * 3 and "no command /nothing" in told.err and "demo at" in told.err


def test_a_key(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(served(Options(keys=("k",)))) as base:
        assert chat(base, "-p", "hi") == 1
        assert "none of this server's" in capsys.readouterr().err
        monkeypatch.setenv("LLAMA_API_KEY", "k")
        assert chat(base, "-p", "hi") == 0


def test_an_answer_that_breaks_is_one_line(capsys: Any) -> None:
    with serving(served(script=lambda _job: [Token(5, "a"), Failed("the device is lost", 1.0)])) as base:
        assert chat(base, "-p", "hi") == 1
    told = capsys.readouterr()
    assert told.out == "a\n" and told.err == "vkrun: the device is lost\n"


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://x", "http://", "http://x:99999"])
def test_addresses_that_are_none(url: str, capsys: Any) -> None:
    assert chat(url, "-p", "hi") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_nobody_there(capsys: Any) -> None:
    assert chat("http://127.0.0.1:9", "-p", "hi") == 1
    assert capsys.readouterr().err == "vkrun: http://127.0.0.1:9: Connection refused\n"
