"""DeepSeek V3.2's calls: `<|DSML|invoke name="x"><|DSML|parameter name="key" string="true">text</|DSML|parameter>...`,
with full-width bars, in a section of their own; what is no string is JSON."""

import json

from .parser import AnswerParser, Broken, Steps

MARK = "\uff5cDSML\uff5c"
OPEN, CLOSE = f"<{MARK}function_calls>", f"</{MARK}function_calls>"
INVOKE, INVOKE_END = f'<{MARK}invoke name="', f"</{MARK}invoke>"
PARAMETER, PARAMETER_END = f'<{MARK}parameter name="', f"</{MARK}parameter>"
STRING = '" string="'
MAX_VALUE = 1 << 18


class DsmlParser(AnswerParser):
    """A parameter is told of when it is whole; a call's arguments may be one JSON object in their place."""

    begins = (OPEN,)

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        if (yield from self._next(INVOKE)) is None:
            raise Broken
        while (yield from self._maybe(INVOKE)):
            name = yield from self._until('">')
            self._cut(2)
            self._begin_call(name)
            if (yield from self._next("{", PARAMETER, INVOKE_END)) == "{":
                yield from self._json(self._argue)
            else:
                yield from self._parameters()
            yield from self._token(INVOKE_END)
            self._end_call()
        yield from self._maybe(CLOSE)

    def _parameters(self) -> Steps[None]:
        n = 0
        while (yield from self._maybe(PARAMETER)):
            key = yield from self._until(STRING)
            self._cut(len(STRING))
            kind = yield from self._token("true", "false")
            yield from self._token('">')
            value = yield from self._until(PARAMETER_END, most=MAX_VALUE)
            self._cut(len(PARAMETER_END))
            said = value if kind == "true" else _json(value)
            self._argue(("{" if not n else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
            self._argue(json.dumps(said, ensure_ascii=False))
            n += 1
        self._argue("}" if n else "{}")


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Broken from None
