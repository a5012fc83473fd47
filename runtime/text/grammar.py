"""Grammar: what an answer has to be: JSON by a schema, or text by a regular expression or a grammar. Untrusted, so that
its size and depth are bounded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..errors import UsageError

Kind = Literal["json_schema", "regex", "gbnf", "lark"]
MAX_CHARS = 1 << 18  # of a grammar's text
MAX_DEPTH = 64  # of a JSON schema


@dataclass(frozen=True)
class Grammar:
    """What an answer has to be, a text of kind "json_schema", "regex", "gbnf" (llama.cpp's) or "lark"."""

    kind: Kind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"grammar: {self.kind!r:.40}, expected {', '.join(get_args(Kind))}")
        if len(self.text) > MAX_CHARS:
            raise UsageError(f"{self.kind}: {len(self.text)} characters, expected at most {MAX_CHARS}")
        if self.kind == "json_schema" and (depth := _depth(_parsed(self.text))) > MAX_DEPTH:
            raise UsageError(f"JSON schema: {depth} or more levels, expected at most {MAX_DEPTH}")

    @classmethod
    def json(cls, schema: str | Mapping[str, Any] | None = None) -> "Grammar":
        """JSON by a schema, or any object. UsageError for what is no schema, or too deep."""
        if isinstance(schema, str):
            return cls("json_schema", schema)
        try:
            return cls("json_schema", json.dumps({"type": "object"} if schema is None else dict(schema)))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"JSON schema: {one_line(str(error))}") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"JSON schema: {one_line(str(error))}") from None
    if not isinstance(made, dict):
        raise UsageError(f"JSON schema: {type(made).__name__}, expected an object")
    return made


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted to just beyond the most that is taken."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        below = [list(v.values()) if isinstance(v, Mapping) else v for v in level if isinstance(v, Mapping | list)]
        level, depth = [each for values in below for each in values], depth + 1
    return depth


def one_line(message: str) -> str:
    """The first 200 characters, on one line."""
    return " ".join(message.split())[:200]
