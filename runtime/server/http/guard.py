"""What every request passes before any endpoint sees it: its size, where it was sent, by whom, and with which key."""

import hmac
import ipaddress
import time
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .options import ANYWHERE, LOOPBACK, OPEN, Options

MAX_HEADERS, MAX_PATH = 100, 2048
_ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


class Guard:
    """An ASGI application around another. One line of log a request: no query, no body, no key."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app, self._options = app, options
        self._keys = [_digest(key.encode()) for key in options.keys]
        self._hosts = {name.lower() for name in (*LOOPBACK, options.host, *options.hosts)} - ANYWHERE
        self._any_address = options.host in ANYWHERE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        headers = Headers(scope=scope)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), headers)
            await send(message)

        try:
            answer = self._answer(scope, headers)
            await (answer or self._app)(scope, receive, sending)
        finally:
            self._options.log(_line(scope, status, time.perf_counter() - start))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What a request is answered with that goes no further."""
        try:
            self._check_size(scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            if _is_preflight(scope, headers):
                return Response(status_code=204)
            self._check_key(scope, headers)
        except ApiError as error:
            return error.response(scope["path"].startswith("/v1/messages"))
        return None

    def _check_size(self, scope: Scope) -> None:
        pairs = scope["headers"]
        n_bytes = sum(len(name) + len(value) for name, value in pairs)
        if len(pairs) > MAX_HEADERS or n_bytes > self._options.max_head:
            raise ApiError(431, f"headers: {len(pairs)} of {n_bytes} bytes, at most {MAX_HEADERS} are read")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_PATH:
            raise ApiError(414, f"address: more than {MAX_PATH} bytes")

    def _check_host(self, headers: Headers) -> None:
        """A page of any site can have its name lead to this machine; its browser then still says that name."""
        names = headers.getlist("host")
        if len(names) != 1 or not self._is_host(_host(names[0])):
            raise ApiError(403, "Host: no name of this server; --allowed-host adds one", code="host")

    def _is_host(self, name: str) -> bool:
        return name in self._hosts or (self._any_address and _is_address(name))

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Pages of other sites may not call, be it that they could not read the answer."""
        origin = headers.get("origin")
        if origin is None:
            strange = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        else:
            own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
            strange = origin.lower() != own.lower() and not self._may_call(origin)
        if strange:
            raise ApiError(403, "Origin: a page of another site; --cors-origins lets it call", code="origin")

    def _may_call(self, origin: str) -> bool:
        return origin in self._options.origins or "*" in self._options.origins

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        if not self._keys or scope["path"] in OPEN:
            return
        given = _digest(_key(headers))
        found = [hmac.compare_digest(given, key) for key in self._keys]  # all of them, whichever it is
        if not any(found):
            asks = (("WWW-Authenticate", "Bearer"),)
            raise ApiError(401, "key: none of this server's", code="invalid_api_key", headers=asks)
        scope["vkrun.user"] = f"key {found.index(True)}"

    def _add_headers(self, answer: MutableHeaders, asked: Headers) -> None:
        for name, value in _ALWAYS.items():
            answer.setdefault(name, value)
        answer.setdefault("Cache-Control", "no-store")
        origin = asked.get("origin")
        if origin is not None and self._may_call(origin):
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Allow-Methods"] = "GET, POST"
            answer["Access-Control-Allow-Headers"] = "authorization, content-type, x-api-key, anthropic-version"
            answer.add_vary_header("Origin")


def _digest(key: bytes) -> bytes:
    """Of one length, so that a comparison tells nothing of a key's."""
    return sha256(key).digest()


def _key(headers: Headers) -> bytes:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    said = key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return said.encode("latin-1", "replace")


def _host(value: str) -> str:
    """`[::1]:80`, `name:80` or `name`, less the port; "" for what is none of them."""
    try:
        return (urlsplit(f"//{value}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    asks = "access-control-request-method" in headers and "origin" in headers
    return scope["method"] == "OPTIONS" and asks


def _line(scope: Scope, status: int, seconds: float) -> str:
    client = (scope.get("client") or ("-",))[0]
    path = ascii(scope["path"])[1:-1]
    return f"{client} {scope['method']:.10} {path:.80} {status or 'closed'} {seconds * 1000:.0f} ms"
