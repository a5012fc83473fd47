"""/v1/embeddings."""

import base64
import struct
from typing import Any

from starlette.responses import Response

from ...jobs import Embedded, Failed, Job
from ..answers import events, failure
from ..asking import check_ids
from ..endpoint import Call, Endpoint
from ..errors import ApiError, Json
from ..schemas.plain import EmbeddingRequest
from ..schemas.replies import EmbeddingsReply
from .completions import token_lists


async def embeddings(call: Call, body: EmbeddingRequest) -> Response:
    texts = await token_lists(call, body.input)
    for ids in texts:
        _check(call, ids)
    user = call.user(body.user)
    jobs = [
        Job(f"{call.id}-{i}", tuple(ids), user=user, embed=True, pooling=body.pooling) for i, ids in enumerate(texts)
    ]
    found = await _rows(call, jobs)
    _check_width(body.dimensions, len(found[0]))
    as_text = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(row) if as_text else row}
        for i, row in enumerate(found)
    ]
    n = sum(map(len, texts))
    used = {"prompt_tokens": n, "total_tokens": n}
    return Json({"object": "list", "model": call.served.card.id, "data": data, "usage": used})


def _check(call: Call, ids: list[int]) -> None:
    most = call.served.card.n_ctx
    if not ids or len(ids) > most:
        raise ApiError(400, f"input: {len(ids)} tokens, expected 1 to {most}", param="input")
    check_ids(call, ids, "input")


def _check_width(wanted: int | None, width: int) -> None:
    if wanted not in (None, width):
        text = f"dimensions: {wanted}, the model's embeddings have {width}"
        raise ApiError(400, text, param="dimensions")


async def _rows(call: Call, jobs: list[Job]) -> list[tuple[float, ...]]:
    rows: dict[int, tuple[float, ...]] = {}
    coming = events(call, jobs)
    call.stack.push_async_callback(coming.aclose)
    async for i, event in coming:
        match event:
            case Embedded(values):
                rows[i] = values
            case Failed():
                raise failure(event)
            case Exception():
                raise event
    return [rows[i] for i in range(len(jobs))]


def _base64(row: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


ENDPOINTS: tuple[Any, ...] = (
    Endpoint(
        *("POST", "/v1/embeddings", embeddings, "Embeddings of texts"),
        *(EmbeddingRequest, EmbeddingsReply),
        statuses=(429, 503),
    ),
)
