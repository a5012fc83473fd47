"""Values that a format writes as plain text, as the JSON that a tool's schema asks for."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from .scan import MAX_DEPTH

_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
_KINDS |= {dict: "object", type(None): "null"}
MAX_LITERAL = 1 << 16


def kinds_of(schema: Any, depth: int = 0) -> frozenset[str]:
    """The JSON types that a schema admits; empty where it does not say."""
    if not isinstance(schema, Mapping) or depth > 8:
        return frozenset()
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if isinstance(kind, list):
        return frozenset(k for k in kind if isinstance(k, str))
    values = schema["enum"] if isinstance(schema.get("enum"), list) else []
    values = [*values, schema["const"]] if "const" in schema else values
    if values:
        return frozenset(_kind(value) for value in values)
    parts = [part for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list) for part in schema[key]]
    kinds = [kinds_of(part, depth + 1) for part in parts]
    return frozenset().union(*kinds) if all(kinds) else frozenset()


def is_text(schema: Any) -> bool:
    """Whether a value can be nothing but a string."""
    return kinds_of(schema) == {"string"}


def json_of(text: str, schema: Any) -> str:
    """The JSON of a value that is not certain to be a string: what the text reads as, if the schema admits that."""
    kinds = kinds_of(schema)
    for read in (json.loads, _literal):
        try:
            value = read(text.strip())
            if not kinds or _kind(value) in kinds or (_kind(value) == "integer" and "number" in kinds):
                return json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return json.dumps(text, ensure_ascii=False)


def _literal(text: str) -> Any:
    """Python's spelling, which models fall into: True, None, quotes of one stroke."""
    if len(text) > MAX_LITERAL or max(text.count(c) for c in "([{") > MAX_DEPTH:
        raise ValueError
    return ast.literal_eval(text)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "")


def parameters_of(schema: Any) -> Mapping[str, Any]:
    """name -> schema of a tool's parameters; none where the schema is no object's."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def tool_schemas(tools: Any) -> dict[str, Mapping[str, Any]]:
    """name -> schema of its arguments, of tools in OpenAI's form, with or without their "function" level. What is none
    is left out."""
    named = [tool.get("function", tool) for tool in tools or () if isinstance(tool, Mapping)]
    named = [tool for tool in named if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)]
    empty: Mapping[str, Any] = {}
    return {t["name"]: s if isinstance(s := t.get("parameters"), Mapping) else empty for t in named}
