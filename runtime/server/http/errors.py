"""Errors as OpenAI's clients read them: an object with a line for people and words for programs."""

import json
import math
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_ANTHROPIC = {413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 503: "overloaded_error"}


@dataclass
class ApiError(Exception):
    """What a request is answered with. param: the field it is about. retry_after: seconds, for the header."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        return KINDS.get(self.status, "invalid_request_error")

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}

    def anthropic_body(self) -> dict[str, Any]:
        kind = _ANTHROPIC.get(self.status, self.kind)
        return {"type": "error", "error": {"type": kind, "message": self.message}}

    def response(self, anthropic: bool = False) -> Response:
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return Json(self.anthropic_body() if anthropic else self.body(), self.status, headers)


class Json(Response):
    """JSON in UTF-8, without blanks; a NaN in it is a fault of ours."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encoded(content)


def encoded(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
