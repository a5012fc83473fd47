"""The OpenAPI description, made from the endpoints and their models."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from ...version import VERSION
from .endpoint import Call, Endpoint
from .errors import Json
from .schemas.replies import AnthropicErrorReply, ErrorReply

PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
_USUAL = (403, 414, 431, 500)
_WITH_BODY = (400, 408, 413, 415)
_SAID = {
    400: "what the request says cannot be",
    401: "no key, or a wrong one",
    403: "called by a name that is not the server's, or by another site's page",
    404: "no such thing",
    408: "the body took too long",
    413: "the body is too large",
    414: "the address is too long",
    415: "the body is no JSON",
    429: "this user asked for too much at once; Retry-After says when to ask again",
    431: "the headers are too large",
    500: "a fault of the server's",
    501: "the server was started without it",
    503: "not ready, or too many wait; Retry-After says when to ask again",
}


def description_endpoint(offered: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that gives the description of the others and of itself."""
    made: dict[str, Any] = {}

    async def describe(_call: Call) -> Response:
        if not made:  # when it is asked for: it takes as long as a start
            made.update(description((*offered, own)))
        return Json(made)

    own = Endpoint("GET", PATH, describe, "This description", gives="application/json")
    return own


def description(offered: Sequence[Endpoint]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    refs, components = _schemas(offered)
    for endpoint in offered:
        paths.setdefault(_plain(endpoint.path), {})[endpoint.method.lower()] = _operation(endpoint, refs)
    schemes = {"key": {"type": "http", "scheme": "bearer"}, "x-api-key": _header_key()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vkrun", "version": VERSION, "description": "A model, served as OpenAI's API has it."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": schemes},
        "security": [{}, {"key": []}, {"x-api-key": []}],
    }


def _header_key() -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": "x-api-key"}


def _schemas(offered: Sequence[Endpoint]) -> tuple[dict[type[BaseModel], Any], dict[str, Any]]:
    taken = [(e.takes, "validation") for e in offered if e.takes]
    given = [(e.gives, "serialization") for e in offered if not isinstance(e.gives, str)]
    models = [*taken, *given, (ErrorReply, "serialization"), (AnthropicErrorReply, "serialization")]
    found, top = models_json_schema(models, ref_template=_REF)  # pyright: ignore[reportArgumentType]
    return {model: ref for (model, _mode), ref in found.items()}, top["$defs"]  # pyright: ignore[reportReturnType]


def _operation(endpoint: Endpoint, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    error = refs[AnthropicErrorReply if endpoint.is_anthropic else ErrorReply]
    gives = (
        {endpoint.gives: {}}
        if isinstance(endpoint.gives, str)
        else {"application/json": {"schema": refs[endpoint.gives]}}
    )
    if endpoint.streams:
        gives = {**gives, "text/event-stream": {}}
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.run.__name__,
        "responses": {"200": {"description": "the answer", "content": gives}},
    }
    for status in sorted({*_USUAL, *_statuses(endpoint)}):
        content = {"application/json": {"schema": error}}
        operation["responses"][str(status)] = {"description": _SAID[status], "content": content}
    if parameters := _parameters(endpoint):
        operation["parameters"] = parameters
    if endpoint.takes:
        body = {"required": True, "content": {"application/json": {"schema": refs[endpoint.takes]}}}
        operation["requestBody"] = body
    return operation


def _statuses(endpoint: Endpoint) -> tuple[int, ...]:
    return (*endpoint.statuses, *(_WITH_BODY if endpoint.takes else ()), *(() if endpoint.is_open else (401,)))


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)(:\w+)?}", endpoint.path)
    kinds = {":int": {"type": "integer", "minimum": 0}}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": kinds.get(kind, {"type": "string", "minLength": 1})}
        for name, kind in names
    ]
    in_query = [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string", "enum": list(words)}}
        for name, words in endpoint.query
    ]
    return [*in_path, *in_query]


def _plain(path: str) -> str:
    """Starlette's path without its kinds."""
    return re.sub(r":\w+}", "}", path)
