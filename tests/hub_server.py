"""A hub on this machine: model info, and files behind redirects, with a hub's headers, ranges and refusals."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


@dataclass
class Hub:
    """repos: {user/repo: {path: content}}. What a test changes to have it answer otherwise stands below that."""

    repos: dict[str, dict[str, bytes]]
    status: dict[str, int] = field(default_factory=dict)  # of a repository: refused
    gated: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)  # {user/repo: what opens it}
    headers: dict[str, str] = field(default_factory=dict)  # in the place of those that files have
    info: bytes | None = None  # in the place of what a repository holds
    breaks_after: int | None = None  # bytes of the first answer, then the connection ends
    seconds: float = 0.0  # that a file takes
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def other_url(self) -> str:
        """The same server by another name: where files lie."""
        return f"http://localhost:{self._server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        kind, _, rest = path.removeprefix("/").partition("/")
        if kind == "api":
            self._describe(rest.removeprefix("models/"))
        elif kind == "blobs":
            assert "Authorization" not in self.headers, "a token went to another host"
            repo, _, file = rest.partition("//")
            self._send_file(self.hub.repos[repo][file])
        else:
            repo, _, file = path.removeprefix("/").partition("/resolve/main/")
            self._resolve(repo, file)

    def _refused(self, repo: str) -> bool:
        code, more = self.hub.status.get(repo, 0), {}
        wanted = self.hub.tokens.get(repo)
        if wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            code, more = 401, {"X-Error-Code": "RepoNotFound"}  # as a hub says it to those it does not know
        if repo in self.hub.gated:
            code, more = 403, {"X-Error-Code": "GatedRepo"}
        if repo not in self.hub.repos:
            code, more = 404, {"X-Error-Code": "RepoNotFound"}
        if code:
            self._send(code, b"{}", more)
        return bool(code)

    def _describe(self, repo: str) -> None:
        if self._refused(repo):
            return
        files = [{"rfilename": name, "size": len(data)} for name, data in self.hub.repos[repo].items()]
        said = {"id": repo, "sha": COMMIT, "siblings": files}
        self._send(
            200, json.dumps(said).encode() if self.hub.info is None else self.hub.info, {"ETag": 'W/"2b-a+b/c="'}
        )

    def _resolve(self, repo: str, file: str) -> None:
        if self._refused(repo):
            return
        data = self.hub.repos[repo][file]
        etag = hashlib.sha256(data).hexdigest()
        made = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        self._send(302, b"", {**made, "Location": f"{self.hub.other_url}/blobs/{repo}//{file}", **self.hub.headers})

    def _send_file(self, data: bytes) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        more = {"ETag": '"0"', "Accept-Ranges": "bytes"}
        if start:
            more["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if start else 200, data[start:], more)

    def _send(self, code: int, body: bytes, more: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.breaks_after is not None and code == 200 and self.path.startswith("/blobs"):
            body, self.hub.breaks_after = body[: self.hub.breaks_after], None
            self.close_connection = True
        step = len(body) // 8 + 1
        for start in range(0, len(body), step):
            time.sleep(self.hub.seconds / 8)
            self.wfile.write(body[start : start + step])
