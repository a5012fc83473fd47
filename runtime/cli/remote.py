"""A server of OpenAI's API, as a chat in a terminal asks it."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError, VkrunError, reason

SECONDS = 600.0
MAX_LINE = 1 << 20


class Remote:
    """url: `http://host:port`, with or without a path and /v1. Errors are VkrunErrors of one line."""

    def __init__(self, url: str, key: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(f"--server: {url!r:.80}, expected http://HOST:PORT")
        self.url = url
        self._host, self._port, self._is_safe = host, port, parts.scheme == "https"
        self._path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def model(self) -> str:
        """What the server calls its first model."""
        with self._asked("GET", "models") as answer:
            try:
                return str(json.loads(answer.read(MAX_LINE))["data"][0]["id"])
            except (ValueError, LookupError, TypeError):
                raise VkrunError(f"{self.url}: no list of models came from there") from None

    def chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What an answer's stream says."""
        with self._asked("POST", "chat/completions", {**body, "stream": True}) as answer:
            while line := answer.readline(MAX_LINE):
                data = line.removeprefix(b"data: ").strip()
                if data == b"[DONE]":
                    return
                if data and line.startswith(b"data: "):
                    yield _checked(json.loads(data))
        raise VkrunError(f"{self.url}: the answer broke off")

    @contextmanager
    def _asked(self, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._is_safe else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=SECONDS)
        try:
            headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers
            connection.request(method, self._path + path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise VkrunError(f"{self.url}: {_why(answer)}")
            yield answer
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise VkrunError(f"{self.url}: {reason(error)}") from None
        finally:
            connection.close()


def _why(answer: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(answer.read(MAX_LINE))["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"status {answer.status}"


def _checked(frame: Any) -> dict[str, Any]:
    if not isinstance(frame, dict):
        raise VkrunError("a frame that is no object")
    if error := frame.get("error"):
        raise VkrunError(str(error.get("message") if isinstance(error, dict) else error))
    return frame
