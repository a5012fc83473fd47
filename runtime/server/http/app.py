"""The application: endpoints as routes, the guard around them."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .endpoint import Endpoint, Running
from .endpoints import chat, completions, embeddings, messages, metrics, model, page, responses, slots, tokens
from .errors import ApiError
from .guard import Guard
from .openapi import description_endpoint
from .served import Served

# as llama-server's clients spell them too
ALIASES = {
    "/v1/chat/completions": "/chat/completions",
    "/v1/responses": "/responses",
    "/v1/embeddings": "/embeddings",
    "/v1/models": "/models",
    "/health": "/v1/health",
}
_ALWAYS = (model, tokens, completions, chat, embeddings, responses, messages)


def endpoints_of(served: Served) -> tuple[Endpoint, ...]:
    """Those that the server offers as it was started."""
    options = served.options
    wanted = [*_ALWAYS]
    wanted += [
        each for each, is_on in ((page, options.page), (slots, options.slots), (metrics, options.metrics)) if is_on
    ]
    offered = tuple(endpoint for module in wanted for endpoint in module.ENDPOINTS)
    return (*offered, description_endpoint(offered))


def make_app(served: Served) -> ASGIApp:
    """ASGI. Served's workers are started and stopped by the caller."""
    endpoints = endpoints_of(served)
    routes = [
        Route(path, Running(e, served), methods=[e.method])
        for e in endpoints
        for path in (e.path, ALIASES.get(e.path))
        if path is not None
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False
    return Guard(app, served.options)


async def _refuse(request: Request, error: Exception) -> Response:
    """What no route takes."""
    assert isinstance(error, HTTPException)
    path, said = request.url.path, tuple((error.headers or {}).items())
    shown, allowed = f"{request.method} {ascii(path)[1:-1]:.80}", dict(said).get("Allow", "")
    text = f"{shown}: expected {allowed}" if allowed else f"{shown}: no such endpoint; /openapi.json lists them"
    return ApiError(error.status_code, text, headers=said).response(path.startswith("/v1/messages"))
