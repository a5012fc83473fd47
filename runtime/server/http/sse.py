"""Server-sent events: frames to a client that may stop reading."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .endpoint import api_error
from .errors import encoded

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
Frame = tuple[str | None, Any]  # an event's name and what it says: a value, or bytes as they are


def frame(value: Any, event: str | None = None) -> bytes:
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + (value if isinstance(value, bytes) else encoded(value)) + b"\n\n"


class EventStream(Response):
    """Frames as they come; an error on the way is a frame of its own, and the last one. A client that reads nothing
    for `seconds` is taken for gone."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[Frame], seconds: float, anthropic: bool = False) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._frames, self._seconds, self._anthropic = frames, seconds, anthropic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for event, value in self._frames:
                await self._send(send, frame(value, event))
        except TimeoutError:
            return
        except Exception as error:
            await self._send(send, self._last(error))
        await self._send(send, b"", more=False)

    def _last(self, error: Exception) -> bytes:
        said = api_error(error)
        return frame(said.anthropic_body(), "error") if self._anthropic else frame(said.body())

    async def _send(self, send: Send, data: bytes, more: bool = True) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": more}
        await asyncio.wait_for(send(message), self._seconds)
