"""Gemma 4's calls: `<|tool_call>call:name{key:<|"|>text<|"|>,other:[1,true]}<tool_call|>`."""

import json
import re
from typing import Any

from .parser import AnswerParser, Broken, Steps

OPEN, CLOSE, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_TEXT = re.compile(r'<\|"\|>(.*?)<\|"\|>', re.DOTALL)
_BARE_KEY = re.compile(r"([{,]\s*)([^\s\"{}\[\],:]+)(\s*:)")
_NONE = re.compile(r"(?<=[:,\[])\s*None(?=\s*[,\]}])")  # as the template writes null in earlier calls
MAX_ARGUMENTS = 1 << 18


class GemmaParser(AnswerParser):
    """A call is told of when it is whole, as its arguments are no JSON."""

    begins = (OPEN,)

    def _calls(self, mark: str) -> Steps[None]:
        self._cut(len(mark))
        yield from self._token("call:")
        name = (yield from self._until("{")).strip()
        arguments = json_of_call((yield from self._until(CLOSE, most=MAX_ARGUMENTS)))
        self._cut(len(CLOSE))
        self._begin_call(name)
        self._argue(arguments)
        self._end_call()


def json_of_call(text: str) -> str:
    """The arguments as JSON; Broken for what is none of this format's, nor JSON already."""
    if (value := _json(text)) is not None:
        return json.dumps(value, ensure_ascii=False)
    parts = _TEXT.split(text)  # what stands between texts, and the texts, in turns
    plain = [_NONE.sub("null", _BARE_KEY.sub(r'\1"\2"\3', part)) for part in parts[::2]]
    texts = [json.dumps(part, ensure_ascii=False) for part in parts[1::2]]
    value = _json("".join(a + b for a, b in zip(plain, [*texts, ""], strict=True)))
    if value is None:
        raise Broken
    return json.dumps(value, ensure_ascii=False)


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
