"""Calls that are JSON objects, `{"name": ..., "arguments": {...}}`, alone or in a list."""

import json
from typing import Any

from .parser import AnswerParser, Broken, Steps

ARGUMENTS = ("arguments", "parameters")
_KEYS = frozenset({*ARGUMENTS, "name", "id", "type", "function", "index"})


class JsonCallParser(AnswerParser):
    """A parser that can read such objects."""

    known_only = False  # a name that is no tool's makes it content

    def _json_calls(self) -> Steps[None]:
        """One object or a list of them."""
        if not (yield from self._maybe("[")):
            yield from self._json_call()
            return
        if (yield from self._maybe("]")):
            return
        while True:
            yield from self._json_call()
            if (yield from self._token(",", "]")) == "]":
                return

    def _json_call(self) -> Steps[None]:
        yield from self._token("{")
        found: dict[str, Any] = {}
        separator = ","
        while separator == ",":
            key = yield from self._key()
            if key in ARGUMENTS and isinstance(found.get("name"), str) and not self._in_call:
                yield from self._named_arguments(found)
            else:
                found[key] = yield from self._json_value()
            separator = yield from self._token(",", "}")
        if not self._in_call:
            self._whole_call(found)
        self._end_call()

    def _key(self) -> Steps[str]:
        if (yield from self._next('"')) is None:
            raise Broken
        key = yield from self._json_value()
        if key not in _KEYS:
            raise Broken
        yield from self._token(":")
        return key

    def _named_arguments(self, found: dict[str, Any]) -> Steps[None]:
        """Arguments behind the name, told of as they come; those that are JSON in a string, when they are whole."""
        if (yield from self._next("{")):
            self._begin(found)
            yield from self._json(self._argue)
        else:
            arguments = as_object((yield from self._json_value()))
            self._begin(found)
            self._argue(arguments)

    def _whole_call(self, found: dict[str, Any]) -> None:
        """A call of which nothing is told yet: the name came last, or stands one level deeper."""
        inner = found.get("function")
        found = {**found, **inner} if isinstance(inner, dict) else found
        arguments = as_object(next((found[key] for key in ARGUMENTS if key in found), None))
        self._begin(found)
        self._argue(arguments)

    def _begin(self, found: dict[str, Any]) -> None:
        name, call_id = found.get("name"), found.get("id")
        if not isinstance(name, str) or (self.known_only and name not in self.setting.tools):
            raise Broken
        self._begin_call(name, call_id if isinstance(call_id, str) else None)


def as_object(value: Any) -> str:
    """Arguments as the text of a JSON object. Broken for what is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Broken from None
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise Broken
    return json.dumps(value, ensure_ascii=False)


class MistralParser(JsonCallParser):
    """`[TOOL_CALLS]` and a list of objects, or `name[ARGS]{...}`, whose id may stand before `[ARGS]`."""

    begins = ("[TOOL_CALLS]",)

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        if (yield from self._next("[", "{")) is not None:
            yield from self._json_calls()
            return
        name = (yield from self._until("[CALL_ID]", "[ARGS]", "{")).strip()
        call_id = None
        if (yield from self._maybe("[CALL_ID]")):
            call_id = (yield from self._until("[ARGS]", "{")).strip()
        yield from self._maybe("[ARGS]")
        if (yield from self._next("{")) is None:
            raise Broken
        self._begin_call(name, call_id)
        yield from self._json(self._argue)
        self._end_call()


class BetweenMarksParser(JsonCallParser):
    """Objects or lists of them between marks, such as Nemotron's `<TOOLCALL>[...]</TOOLCALL>`; the last may lack."""

    end = ""

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        yield from self._json_calls()
        yield from self._maybe(self.end)


class NemotronParser(BetweenMarksParser):
    """Nemotron Nano 2 and its elders."""

    begins, end = ("<TOOLCALL>",), "</TOOLCALL>"


class GraniteParser(BetweenMarksParser):
    """Granite 3: `<|tool_call|>[...]`; Phi 4 mini closes it."""

    begins, end = ("<|tool_call|>",), "<|/tool_call|>"


class LlamaParser(JsonCallParser):
    """Llama 3: an answer that is an object, or several, with `;` or nothing between, behind `<|python_tag|>` or not."""

    begins = ("<|python_tag|>",)
    known_only = True

    def _body(self) -> Steps[None]:
        if self.setting.tools and (yield from self._next("{")):
            yield from self._try(self._objects())
        yield from super()._body()

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        yield from self._objects()

    def _objects(self) -> Steps[None]:
        yield from self._json_call()
        while (yield from self._next(";", "{")):
            yield from self._maybe(";")
            yield from self._json_call()
