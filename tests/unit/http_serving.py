"""The application over workers that compute nothing, called in process or over a port of its own."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any

import httpx
import uvicorn
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.model import BUNDLED
from vkrun.runtime.server.http.app import make_app
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.http.protocol import BoundedProtocol
from vkrun.runtime.server.http.served import Card, Served
from vkrun.runtime.text.base import Tokenizer
from vkrun.runtime.text.chat import ChatTemplate
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf
from vkrun.tests.unit.fake_workers import FakeWorkers

BASE = "http://localhost:8080"
HI = [{"role": "user", "content": "hi"}]


@cache
def words() -> tuple[Tokenizer, ChatTemplate]:
    with GGUFFile.open(str(BUNDLED)) as f:
        tokenizer = need_tokenizer(tokenizer_from_gguf(f.keys))
        return tokenizer, ChatTemplate.from_gguf(f.keys, tokenizer)


def served(options: Options | None = None, causal: bool = True, **how: Any) -> Served:
    tokenizer, template = words()
    card = Card("demo", "qwen3next", 14_000_000, 15_000_000, tokenizer.n_vocab, 2, 512, 512, 2, causal, 1)
    return Served(FakeWorkers(tokenizer, **how), card, tokenizer, template, options or Options())


def workers(of: Served) -> FakeWorkers:
    assert isinstance(of.workers, FakeWorkers)
    return of.workers


def asked(of: Served, method: str, path: str, base: str = BASE, **how: Any) -> httpx.Response:
    """One request, in process."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(of)), base_url=base) as client:
            return await client.request(method, path, **how)

    return asyncio.run(ask())


def post(of: Served, path: str, value: Any, **how: Any) -> httpx.Response:
    return asked(of, "POST", path, json=value, **how)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object, which must be whole and tell no path and no traceback."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert "/tmp" not in error["message"] and "Traceback" not in error["message"] and len(error["message"]) < 500
    return error


def frames(response: httpx.Response) -> list[Any]:
    """What a stream said, less the last word."""
    assert response.headers["content-type"].startswith("text/event-stream")
    said = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    ended = said.pop() if said[-1] == "[DONE]" else None
    assert ended or "error" in said[-1] or '"type"' in said[-1]
    return [json.loads(text) for text in said]


@contextlib.contextmanager
def serving(of: Served) -> Iterator[str]:
    """Over a real port; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(make_app(of), http=BoundedProtocol, log_level="error", lifespan="off", timeout_keep_alive=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            _until(lambda: server.started)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)


def _until(what: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


async def eventually(what: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]
