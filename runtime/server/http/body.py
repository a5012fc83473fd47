"""From the bytes of a request to a checked value: nothing of any size or depth is built before it was bounded."""

import asyncio
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from .errors import ApiError

N_SHOWN = 40  # characters of a value that errors repeat
MAX_DEPTH = 64  # of lists and objects in each other: tools' schemas need some 20
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, n_most: int, seconds: float) -> bytes:
    """The bytes; 413 as soon as there are too many, 408 where they take too long."""
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said[:20]) > n_most:
        raise _too_large(n_most)
    try:
        return await asyncio.wait_for(_read(request, n_most), seconds)
    except TimeoutError:
        raise ApiError(408, f"body: not here after {seconds:g} s", headers=(("Connection", "close"),)) from None


async def _read(request: Request, n_most: int) -> bytes:
    parts, n = [], 0
    async for part in request.stream():
        n += len(part)
        if n > n_most:
            raise _too_large(n_most)
        parts.append(part)
    return b"".join(parts)


def _too_large(n_most: int) -> ApiError:
    return ApiError(413, f"body: larger than {n_most} bytes", headers=(("Connection", "close"),))


def parsed(data: bytes, model: type[Model]) -> Model:
    """The checked value; ApiError 400 that names the field."""
    value = _json(data)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error) from None


def _json(data: bytes) -> Any:
    try:
        value = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"body: no JSON: {error!s:.100}") from None
    _check(value)
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _check(value: Any) -> None:
    """Depth, and texts that UTF-8 cannot write, without recursion."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ApiError(400, f"body: more than {MAX_DEPTH} lists or objects in each other")
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str) and not each.isascii():
                _check_text(each)
        level, depth = below, depth + 1


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(400, "body: a text with half a surrogate pair, which UTF-8 cannot write") from None


def invalid(error: ValidationError) -> ApiError:
    """The error that lies deepest is the one of the branch that was meant."""
    found = max(error.errors(include_url=False), key=lambda e: (len(e["loc"]), not e["type"].endswith("_type")))
    names = [str(part) for part in found["loc"] if isinstance(part, int) or str(part).isidentifier()]
    param = ".".join(names) or None
    if found["type"] == "value_error":  # a sentence of ours
        text = found["msg"].removeprefix("Value error, ")
        own, _, _ = text.partition(":")
        return ApiError(400, f"{text if param is None else f'{param}: {text}'}"[:300], param=param or own)
    return ApiError(400, f"{param or 'body'}: {_said(found)}", param=param)


def _said(found: Any) -> str:
    """What stands there and what is expected, in a line."""
    what, value = found["msg"], found["input"]
    if found["type"] == "missing":
        return "missing"
    if found["type"].startswith("union_tag"):
        return f"{_shown(found['ctx'].get('tag'))}, expected {found['ctx'].get('expected_tags', 'a known type')}"
    what = re.sub(r"^(Input|String|List|Dictionary) should ", "", what)
    what = re.sub(r"^be | after validation, not \d+$| or instance of \w+$", "", what)
    return f"{_shown(value)}, expected {'to ' if what.startswith(('have', 'match')) else ''}{what:.200}"


def _shown(value: Any) -> str:
    """A value in a few characters: one of a request may be as long as the request."""
    if isinstance(value, str):
        return repr(value) if len(value) <= N_SHOWN else f"a text of {len(value)} characters"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return json.dumps(value) if isinstance(value, bool | int | float | None) else type(value).__name__
