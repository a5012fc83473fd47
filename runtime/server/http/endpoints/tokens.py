"""Text to tokens and back, messages to a prompt."""

from starlette.responses import Response

from ..asking import chat_prompt, check_ids
from ..endpoint import Call, Endpoint
from ..errors import Json
from ..figures import piece
from ..schemas.chat import ForTemplate
from ..schemas.plain import DetokenizeRequest, TokenizeRequest
from ..schemas.replies import ApplyTemplateReply, DetokenizeReply, TokenizeReply


async def tokenize(call: Call, body: TokenizeRequest) -> Response:
    tokenizer = call.served.tokenizer
    bos = None if body.add_special else False
    ids = await call.served.aside(tokenizer.encode, body.content, body.parse_special, bos)
    if body.with_pieces:
        return Json({"tokens": [{"id": i, "piece": piece(tokenizer, i)} for i in ids]})
    return Json({"tokens": ids})


async def detokenize(call: Call, body: DetokenizeRequest) -> Response:
    check_ids(call, body.tokens, "tokens")
    return Json({"content": await call.served.aside(call.served.tokenizer.decode, body.tokens, True)})


async def apply_template(call: Call, body: ForTemplate) -> Response:
    return Json({"prompt": (await chat_prompt(call, body)).text})


ENDPOINTS = (
    Endpoint("POST", "/tokenize", tokenize, "Text to token ids", TokenizeRequest, TokenizeReply),
    Endpoint("POST", "/detokenize", detokenize, "Token ids to text", DetokenizeRequest, DetokenizeReply),
    Endpoint("POST", "/apply-template", apply_template, "Messages to a prompt", ForTemplate, ApplyTemplateReply),
)
