"""LFM2's calls: `<|tool_call_start|>[name(key="text", other=[1, True])]<|tool_call_end|>`, as Python writes them; or as
JSON, which it can be told to write."""

import ast
import json
from typing import Any

from .json_calls import ARGUMENTS, as_object
from .parser import AnswerParser, Broken, Steps

OPEN, CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
MAX_CALLS = 1 << 16  # characters
_NAMES = {"true": True, "false": False, "null": None}  # of JSON, which slip in


class PythonParser(AnswerParser):
    """Calls are told of when all are whole."""

    begins = (OPEN,)

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        text = yield from self._until(CLOSE, most=MAX_CALLS)
        calls = calls_of(text.strip())
        self._cut(len(CLOSE))
        for name, arguments in calls:
            self._begin_call(name)
            self._argue(arguments)
            self._end_call()


def calls_of(text: str) -> list[tuple[str, str]]:
    """Names, and arguments as JSON objects. Broken for what is neither Python's calls nor JSON's."""
    try:
        return _of_json(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        body = ast.parse(text, mode="eval").body
        nodes = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
        return [_of_python(node) for node in nodes]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Broken from None


def _of_json(value: Any) -> list[tuple[str, str]]:
    found = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise Broken
        found.append((each["name"], as_object(next((each[key] for key in ARGUMENTS if key in each), None))))
    return found


def _of_python(node: ast.expr) -> tuple[str, str]:
    if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
        raise Broken
    arguments = {k.arg: _value(k.value) for k in node.keywords}
    return ast.unparse(node.func), json.dumps(arguments, ensure_ascii=False, allow_nan=False)


def _value(node: ast.expr) -> Any:
    """A literal, as JSON has it."""
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_value(key)) if key else "": _value(value) for key, value in pairs}
    made = ast.literal_eval(node)
    if not isinstance(made, str | int | float | bool | None):
        raise Broken
    return made
