"""Messages in OpenAI's form as a template wants them: templates differ in how they read calls and reasoning."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import TextError

Message = Mapping[str, Any]  # role, content and whatever else the template knows

REASONING = ("reasoning_content", "reasoning", "thinking")
_READS = {name: re.compile(rf"\.{name}\b|\[['\"]{name}['\"]\]|['\"]{name}['\"] in ") for name in REASONING}
_READS_PARTS = re.compile(r"\.text\b|\[['\"]text['\"]\]")
# arguments put between texts, which a template does that wants them as text
_JOINS_ARGUMENTS = re.compile(
    r"[+~]\s*[\w.]+(?:\[['\"]\w+['\"]\])*(?:\.|\[['\"])arguments\b(?:['\"]\])?\s*(?![\s|.\w])"
)


def check_messages(messages: Sequence[Message]) -> None:
    """TextError for one that has no role."""
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise TextError(f"chat messages: entry {i} has no role: {json.dumps(message, default=repr)[:60]}")


def variants(messages: Sequence[Message], source: str) -> Iterator[list[Message]]:
    """The messages for a template, the likeliest form first: what follows is for one that fails with it.

    Arguments of calls are objects or JSON text; reasoning of earlier answers is left out where the template does not
    read it, or cannot take it beside content; parts of content that are all text are one text, unless it reads parts.
    """
    as_text = bool(_JOINS_ARGUMENTS.search(source))
    if not _READS_PARTS.search(source):
        messages = [{**message, "content": _content(message.get("content"))} for message in messages]
    made: list[list[Message]] = []
    for text, names in ((as_text, REASONING), (not as_text, REASONING), (as_text, ()), (not as_text, ())):
        read = [name for name in names if _READS[name].search(source)]
        form = [_prepared(message, text, read) for message in messages]
        if form not in made:
            made.append(form)
            yield form


def _prepared(message: Message, as_text: bool, reasoning: Sequence[str]) -> Message:
    thought = next((message[name] for name in REASONING if message.get(name)), None)
    made = {key: value for key, value in message.items() if key not in REASONING}
    made["content"] = "" if message.get("content") is None else message["content"]
    if thought is not None:
        made |= dict.fromkeys(reasoning, thought)
    if isinstance(calls := message.get("tool_calls"), list | tuple):
        made["tool_calls"] = [_call(call, as_text) for call in calls]
    return made


def _content(content: Any) -> Any:
    if not isinstance(content, list | tuple):
        return content
    texts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
    if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
        return "\n".join(text for text in texts if text)
    return content


def _call(call: Any, as_text: bool) -> Any:
    if not isinstance(call, Mapping):
        return call
    if isinstance(function := call.get("function"), Mapping):
        return {**call, "function": _call(function, as_text)}
    if "arguments" not in call:
        return call
    return {**call, "arguments": _arguments(call["arguments"], as_text)}


def _arguments(value: Any, as_text: bool) -> Any:
    if as_text:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
