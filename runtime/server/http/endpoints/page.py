"""The page at /: one file, which asks for nothing from anywhere else; its own script and style are all it may run."""

import base64
import hashlib
import re
from pathlib import Path

from starlette.responses import Response

from ..endpoint import Call, Endpoint

PAGE = (Path(__file__).parents[1] / "page.html").read_bytes()


def _hash(tag: str) -> str:
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash('script')}",
        f"style-src {_hash('style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)


async def page(_call: Call) -> Response:
    return Response(PAGE, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})


ENDPOINTS = (Endpoint("GET", "/", page, "A page to chat", gives="text/html"),)
