"""Calls between `<tool_call>` and `</tool_call>`: Hermes' JSON, Qwen3-Coder's functions, GLM's keys and values.

One parser reads all three, as what follows the tag tells them apart, and finetunes mix them.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from .json_calls import JsonCallParser
from .parser import BLANKS, MAX_NAME, Broken, Steps
from .schema import is_text, json_of, parameters_of

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"
_FOLLOWERS = {
    PARAMETER_END: (PARAMETER, FUNCTION_END, CLOSE),
    FUNCTION_END: (CLOSE,),
    VALUE_END: (KEY, CLOSE),
}
_NAME = re.compile(r"[\w.:/-]+\Z")


class TagParser(JsonCallParser):
    """`<function=` is taken for a call without its `<tool_call>` too, which Qwen3-Coder likes to leave out."""

    begins = (OPEN, FUNCTION)

    def _calls(self, mark: str) -> Steps[None]:
        if mark == OPEN:
            self._cut(len(mark))
        kind = yield from self._next("{", "[", FUNCTION)
        if kind == FUNCTION:
            self._cut(len(FUNCTION))
            yield from self._function()
        elif kind:
            yield from self._json_calls()
        else:
            yield from self._keys_and_values()
        yield from self._maybe(CLOSE)

    # Qwen3-Coder

    def _function(self) -> Steps[None]:
        name = (yield from self._until(">")).strip()
        self._cut(1)
        if not _NAME.match(name):
            raise Broken
        self._begin_call(name)
        arguments = _Arguments(self._argue, self.setting.tools.get(name))
        while (yield from self._next(PARAMETER, FUNCTION_END, CLOSE)) == PARAMETER:
            self._cut(len(PARAMETER))
            key = (yield from self._until(">")).strip()
            self._cut(1)
            yield from self._value(arguments.begin(key), PARAMETER_END, FUNCTION_END)
            arguments.end()
            yield from self._maybe(PARAMETER_END)
        if not (yield from self._maybe(FUNCTION_END)) and not (yield from self._next(CLOSE)):
            raise Broken
        arguments.close()
        self._end_call()

    def _value(self, tell: Callable[[str], None], *marks: str) -> Steps[None]:
        """Tell of a value's text up to a mark that ends it."""
        while mark := (yield from self._stream(marks, tell)):
            if (yield from self._ends_value(mark)):
                return
            tell(self._cut(1))
        raise Broken

    def _ends_value(self, mark: str) -> Steps[bool]:
        """Whether the mark that comes next is the value's end, by what follows it: a value may be a text with tags."""
        followers = _FOLLOWERS[mark]
        while True:
            rest = self._text[len(mark) :].lstrip(BLANKS)
            if rest.startswith(followers):
                return True
            if self._is_last or not any(follower.startswith(rest) for follower in followers):
                return not rest
            yield

    # GLM

    def _keys_and_values(self) -> Steps[None]:
        name = (yield from self._until("\n", KEY, CLOSE)).strip()
        if name not in self.setting.tools:
            raise Broken
        self._begin_call(name)
        arguments = _Arguments(self._argue, self.setting.tools.get(name))
        while (yield from self._maybe(KEY)):
            key = (yield from self._until(KEY_END)).strip()
            yield from self._token(KEY_END)
            yield from self._token(VALUE)
            yield from self._value(arguments.begin(key, trims=False), VALUE_END)
            arguments.end()
            yield from self._token(VALUE_END)
        yield from self._token(CLOSE)
        arguments.close()
        self._end_call()


class _Arguments:
    """Writes one call's arguments as JSON: strings as they come, what may be something else when it is whole."""

    def __init__(self, tell: Callable[[str], None], schema: Mapping[str, Any] | None) -> None:
        self._tell, self._schemas = tell, parameters_of(schema)
        self._n = 0
        self._held: list[str] | None = None  # of a value that may be no string
        self._schema: Any = None
        self._trims, self._is_first, self._line = True, True, ""

    def begin(self, key: str, trims: bool = True) -> Callable[[str], None]:
        """What takes the pieces of the next value; trims: less one line's end before and behind it."""
        if not key or len(key) > MAX_NAME:
            raise Broken
        self._schema = self._schemas.get(key)
        self._tell(("{" if not self._n else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        self._n += 1
        self._trims, self._is_first, self._line = trims, True, ""
        self._held = None if is_text(self._schema) else []
        if self._held is None:
            self._tell('"')
        return self._piece

    def end(self) -> None:
        if self._held is None:
            self._tell('"')
        else:
            self._tell(json_of("".join(self._held), self._schema))

    def close(self) -> None:
        self._tell("}" if self._n else "{}")

    def _piece(self, text: str) -> None:
        if self._trims:
            text = text.removeprefix("\n") if self._is_first else text
            self._is_first = False
            text = self._line + text
            self._line = "\n" if text.endswith("\n") else ""
            text = text.removesuffix("\n")
        if self._held is None:
            self._tell(json.dumps(text, ensure_ascii=False)[1:-1])
        else:
            self._held.append(text)
