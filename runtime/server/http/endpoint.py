"""An endpoint as a value, from which both its route and its description are made, and what runs it."""

import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...errors import TextError, UsageError
from ..jobs import Refused
from .body import parsed, read_body
from .errors import ApiError
from .options import OPEN
from .served import Served


@dataclass
class Call:
    """One request under way. stack: what is closed when it ends, however it ends."""

    served: Served
    request: Request
    id: str
    stack: AsyncExitStack
    created: int = field(default_factory=lambda: int(time.time()))

    def user(self, said: str | None) -> str:
        """Whom it is for: the key it came with; without keys what the request says, or where it came from."""
        client = self.request.client
        return self.request.scope.get("vkrun.user") or said or (client.host if client else "")


@dataclass(frozen=True)
class Endpoint:
    """takes: the body's model. gives: the answer's, or its kind of text. statuses: of errors beside the usual ones."""

    method: str
    path: str
    run: Callable[..., Awaitable[Response]]
    summary: str
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | str = "text/plain"
    streams: bool = False
    statuses: tuple[int, ...] = ()
    query: tuple[tuple[str, tuple[str, ...]], ...] = ()  # names of the query, each with the words it may be

    @property
    def is_open(self) -> bool:
        return self.path in OPEN

    @property
    def is_anthropic(self) -> bool:
        return self.path.startswith("/v1/messages")


class Running:
    """An endpoint as an ASGI application: reads the body, answers, and gives up as soon as the client is gone."""

    def __init__(self, endpoint: Endpoint, served: Served) -> None:
        self._endpoint, self._served = endpoint, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with AsyncExitStack() as stack, anyio.create_task_group() as group:
            call = Call(self._served, request, new_call_id(), stack)
            response = await self._response(call, group, receive)
            await response(scope, receive, send)
            group.cancel_scope.cancel()

    async def _response(self, call: Call, group: Any, receive: Receive) -> Response:
        try:
            given = await self._given(call)
            group.start_soon(_watch, receive, group.cancel_scope)
            return await self._endpoint.run(call, *given)
        except ApiError as error:
            return error.response(self._endpoint.is_anthropic)
        except Exception as error:
            return api_error(error).response(self._endpoint.is_anthropic)

    async def _given(self, call: Call) -> tuple[BaseModel, ...]:
        if self._endpoint.takes is None:
            return ()
        said = call.request.headers.get("content-type", "")
        if said.partition(";")[0].strip().lower() != "application/json":  # the kind that no form of a page can send
            raise ApiError(415, "Content-Type: expected application/json")
        options = self._served.options
        data = await read_body(call.request, options.max_body, options.timeout_s)
        return (parsed(data, self._endpoint.takes),)


def new_call_id() -> str:
    return f"{time.time_ns():x}-{next(_numbers)}"


def _count() -> Any:
    n = 0
    while True:
        n += 1
        yield n


_numbers = _count()


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def api_error(error: Exception) -> ApiError:
    """What may be told of it: our own words about a request, nothing of a fault of ours."""
    match error:
        case ApiError():
            return error
        case Refused():
            return ApiError(429 if error.crowded else 503, str(error), retry_after=error.retry_after)
        case UsageError() | TextError():
            return ApiError(400, str(error))
        case _:
            traceback.print_exception(error)  # for whoever runs the server
            return ApiError(500, "the server failed at this; its own output says how")
