"""Of the model and the server: /health, /v1/models, /props."""

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from ....version import VERSION
from ..answers import check_health
from ..endpoint import Call, Endpoint
from ..errors import ApiError, Json
from ..schemas.replies import HealthReply, ModelReply, ModelsReply, PropsReply


async def health(call: Call) -> Response:
    check_health(call)
    return Json({"status": "ok"})


async def models(call: Call) -> Response:
    return Json({"object": "list", "data": [_model(call)]})


async def model(call: Call) -> Response:
    name, card = call.request.path_params["model"], call.served.card
    if name != card.id:
        raise ApiError(404, f"no model {name!r:.100}; there is {card.id}", code="model_not_found")
    return Json(_model(call))


def _model(call: Call) -> dict[str, Any]:
    card = call.served.card
    meta = {
        "architecture": card.architecture,
        "n_ctx": card.n_ctx,
        "n_ctx_train": card.n_ctx_train,
        "n_embd": card.width,
        "n_params": card.n_params,
        "n_vocab": card.n_vocab,
        "size": card.nbytes,
    }
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": "vkrun", "meta": meta}


async def props(call: Call) -> Response:
    served = call.served
    settings = {k: v for k, v in asdict(served.options.settings).items() if v is not None}
    variables = served.template.variables
    return Json(
        {
            "default_generation_settings": {"n_ctx": served.card.n_ctx, "params": settings},
            "total_slots": served.card.n_slots,
            "model_alias": served.card.id,
            "chat_template": served.template.source,
            "bos_token": variables.get("bos_token", ""),
            "eos_token": variables.get("eos_token", ""),
            "build_info": f"vkrun {VERSION}",
        }
    )


ENDPOINTS = (
    Endpoint("GET", "/health", health, "Does it work?", gives=HealthReply, statuses=(503,)),
    Endpoint("GET", "/v1/models", models, "The model that is served", gives=ModelsReply),
    Endpoint("GET", "/v1/models/{model:path}", model, "That model", gives=ModelReply, statuses=(404,)),
    Endpoint("GET", "/props", props, "How the server was started", gives=PropsReply),
)
