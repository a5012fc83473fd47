"""Grammars of whole answers, in llguidance's Lark: of one that has to call tools, in the family's own format with
arguments by the tools' schemas, so that what AnswerParser makes of it is JSON that the schema takes; and of one whose
content is held to something, with reasoning before it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from ..constraints import SPACE
from ..grammar import Grammar
from . import dsml_calls, harmony, python_calls, tag_calls
from .formats import AnswerFormat
from .gemma_calls import CLOSE as GEMMA_CLOSE
from .gemma_calls import OPEN as GEMMA_OPEN
from .parser import BLANKS
from .schema import is_text, kinds_of, parameters_of, tool_schemas
from .section_calls import DeepSeekParser, KimiParser, SectionParser

TokenId = Callable[[str], int | None]
# keys of a schema beside which a format of plain keys and values can keep to it
_PLAIN_KEYS = frozenset({"type", "properties", "required", "additionalProperties", "title", "description", "strict"})
_PLAIN_KEYS |= {"$schema", "$defs", "definitions", "$id", "$comment"}
_PLAIN_TEXT = frozenset({"type", "description", "title", "default", "enum", "const", "examples"})


@dataclass(frozen=True)
class _Tool:
    """A tool with the number that its rules are called by."""

    i: int
    name: str
    schema: Mapping[str, Any]


def call_grammar(
    form: AnswerFormat,
    tools: Sequence[Mapping[str, Any]],
    token_id: TokenId,
    name: str | None = None,
    parallel: bool = True,
    prompt: str = "",
    reasoning: bool = True,
) -> Grammar:
    """What an answer of `form` has to be that calls one or several of the tools, with nothing but reasoning before it.

    tools: in OpenAI's form. token_id: the id of a control token of that text, None for what is plain text
    (`Vocab.control_id`). name: the one tool to call. parallel: several calls may follow each other. prompt: as for
    AnswerForm.parser. reasoning: the answer may begin with it. Raises UsageError for a format without calls, for no
    tools, and for a name that is none.
    """
    schemas = tool_schemas(tools)
    if name is not None and name not in schemas:
        raise UsageError(f"tool choice: no tool is called {name!r:.60}")
    chosen = [_Tool(i, n, s) for i, (n, s) in enumerate(schemas.items()) if name in (None, n)]
    write = _WRITERS.get(form.name)
    if write is None or not chosen:
        raise UsageError("tool choice: no tools" if write else "tool choice: the chat format has no calls of tools")
    lark = _Lark(token_id)
    calls = write(lark, chosen, parallel and form.name != "harmony")
    lark.rule("start", f"{_thought(lark, form, prompt, reasoning)} {calls}")
    return Grammar("lark", lark.text())


def answer_grammar(
    form: AnswerFormat, grammar: Grammar, token_id: TokenId, prompt: str = "", reasoning: bool = True
) -> Grammar:
    """What an answer of `form` has to be whose content is held to a JSON schema, with reasoning before it; other
    grammars stand for the whole answer. UsageError where the prompt has begun to reason and they do.

    The rest is as for call_grammar.
    """
    lark = _Lark(token_id)
    thought = _thought(lark, form, prompt, reasoning)
    if grammar.kind != "json_schema":
        if thought and not thought.endswith(")?"):
            raise UsageError(f"grammar: {grammar.kind} and reasoning, expected a JSON schema")
        return grammar
    if form.name == "harmony":
        marks = lark.mark(harmony.CHANNEL), lark.mark(harmony.MESSAGE)
        thought += f' {marks[0]} "final" {marks[1]}'
    content = lark.json("content", json.loads(grammar.text))
    lark.rule("start", f"{thought} {content}")
    return Grammar("lark", lark.text())


class _Lark:
    """Rules that are written one by one."""

    def __init__(self, token_id: TokenId) -> None:
        self._token_id = token_id
        self._rules: dict[str, str] = {}

    def text(self) -> str:
        return "\n".join(f"{head}: {body}" for head, body in self._rules.items()) + "\n"

    def rule(self, head: str, body: str) -> str:
        """Enters a rule; its name, which `head` begins with, before options in brackets."""
        self._rules[head] = body
        return head.partition("[")[0]

    def mark(self, text: str) -> str:
        """A mark: the control token of that text, or the text, which may begin with one."""
        for head in (text, text[: text.find(">") + 1]):
            if (token := self._token_id(head)) is not None:
                return f"<[{token}]>" + (f" {json.dumps(text[len(head) :])}" if head != text else "")
        return json.dumps(text)

    def until(self, name: str, mark: str) -> str:
        """Any text up to a mark, and the mark."""
        if self._token_id(mark) is None:
            return self.rule(f"{name}[suffix={json.dumps(mark)}]", "/(?s:.*)/")
        return f"{self.rule(name, '/(?s:.*)/')} {self.mark(mark)}"

    def json(self, name: str, schema: Mapping[str, Any]) -> str:
        return self.rule(name, f"%json {json.dumps({**schema, 'x-guidance': {'whitespace_pattern': SPACE}})}")


def _thought(lark: _Lark, form: AnswerFormat, prompt: str, reasoning: bool) -> str:
    """Reasoning before the calls, and the white space behind it."""
    begin, end = form.tags
    if form.name == "harmony":
        head = f'{lark.mark(harmony.CHANNEL)} "analysis" {lark.mark(harmony.MESSAGE)}'
        behind = f'{lark.mark(harmony.START)} "assistant"'
        return f"({head} {lark.until('thought', '<|end|>')} {behind})?" if reasoning else ""
    blank = lark.rule("blank", r"/[ \t\r\n]{0,4}/")
    if prompt.rstrip(BLANKS).endswith(begin.rstrip(BLANKS)):
        return f"{lark.until('thought', end)} {blank}"
    return f"({lark.mark(begin)} {lark.until('thought', end)} {blank})?" if reasoning else ""


def _arguments(lark: _Lark, tool: _Tool) -> str:
    """The arguments as a JSON object."""
    return lark.json(f"arguments_{tool.i}", {"type": "object", **tool.schema})


def _several(one: Iterable[str], between: str, parallel: bool) -> str:
    """One of the calls, or several of them."""
    any_one = f"({' | '.join(one)})"
    return f"{any_one} ({between} {any_one})*" if parallel else any_one


def _object(lark: _Lark, tool: _Tool, key: str = "arguments") -> str:
    """A call as an object."""
    head = json.dumps(f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "{key}": ')
    return lark.rule(f"object_{tool.i}", f'{head} {_arguments(lark, tool)} "}}"')


def _hermes(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    return _several([_hermes_call(lark, tool) for tool in tools], r'"\n"', parallel)


def _hermes_call(lark: _Lark, tool: _Tool) -> str:
    body = f'"\\n" {_object(lark, tool)} "\\n"'
    return lark.rule(f"call_{tool.i}", f"{lark.mark(tag_calls.OPEN)} {body} {lark.mark(tag_calls.CLOSE)}")


def _coder(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    def call(tool: _Tool) -> str:
        if not _is_plain(tool.schema):
            return _hermes_call(lark, tool)
        head = json.dumps(f"\n{tag_calls.FUNCTION}{tool.name}>\n")
        parameters = _parameters(lark, tool, tag_calls.PARAMETER + "{}>\n", "\n", tag_calls.PARAMETER_END, "\n")
        end = json.dumps(f"{tag_calls.FUNCTION_END}\n")
        body = f"{lark.mark(tag_calls.OPEN)} {head} {parameters} {end} {lark.mark(tag_calls.CLOSE)}"
        return lark.rule(f"call_{tool.i}", body)

    return _several([call(tool) for tool in tools], r'"\n"', parallel)


def _glm(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    def call(tool: _Tool) -> str:
        if not _is_plain(tool.schema):
            return _hermes_call(lark, tool)
        before = f"{tag_calls.KEY}{{}}{tag_calls.KEY_END}\n{tag_calls.VALUE}"
        parameters = _parameters(lark, tool, before, "", tag_calls.VALUE_END, "\n")
        head = json.dumps(f"{tool.name}\n")
        return lark.rule(
            f"call_{tool.i}", f"{lark.mark(tag_calls.OPEN)} {head} {parameters} {lark.mark(tag_calls.CLOSE)}"
        )

    return _several([call(tool) for tool in tools], r'"\n"', parallel)


def _parameters(lark: _Lark, tool: _Tool, before: str, line: str, end: str, behind: str) -> str:
    """Keys and values, those that need not be there left out at will."""
    required = tool.schema.get("required")
    required = required if isinstance(required, list) else []
    parts = []
    for i, (key, schema) in enumerate(parameters_of(tool.schema).items()):
        head, value = json.dumps(before.format(key)), _value(lark, f"value_{tool.i}_{i}", tool, schema, line, end)
        name = lark.rule(f"parameter_{tool.i}_{i}", f"{head} {value} {json.dumps(behind)}")
        parts.append(name if key in required else f"{name}?")
    return " ".join(parts)


def _value(lark: _Lark, name: str, tool: _Tool, schema: Any, line: str, end: str) -> str:
    """A value and what ends it: a string as it is, all else as JSON."""
    if not is_text(schema):
        shared = {key: tool.schema[key] for key in ("$defs", "definitions") if key in tool.schema}
        made = {**schema, **shared} if isinstance(schema, Mapping) else {}
        return f"{lark.json(name, made)} {json.dumps(line + end)}"
    if words := _words(schema):
        return f"({' | '.join(json.dumps(word) for word in words)}) {json.dumps(line + end)}"
    return lark.rule(f"{name}[suffix={json.dumps(end)}]", "/(?s:.*)/")


def _words(schema: Mapping[str, Any]) -> list[str]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum") or [])


def _is_plain(schema: Mapping[str, Any]) -> bool:
    """Whether plain keys and values can keep to a schema: strings that are any text or words of a list, and no rule
    about several keys."""
    if schema.keys() - _PLAIN_KEYS:
        return False
    parameters = parameters_of(schema)
    required = schema.get("required")
    if isinstance(required, list) and any(key not in parameters for key in required):
        return False
    return all(_is_plain_value(key, value) for key, value in parameters.items())


def _is_plain_value(key: str, schema: Any) -> bool:
    if not key or set(key) & set("<>\n") or key != key.strip():
        return False
    if isinstance(schema, Mapping) and not kinds_of(schema):
        return False  # it may say by a reference what it is, and that be a string
    if not is_text(schema):
        return True
    words = _words(schema)
    tidy = all(isinstance(w, str) and w == w.strip("\n") and "<" not in w for w in words)
    return not (schema.keys() - _PLAIN_TEXT) and tidy


def _sections(kind: type[SectionParser], head: Callable[[_Lark, _Tool], str], tail: str, between: str) -> "Writer":
    def write(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
        calls = [
            lark.rule(
                f"call_{t.i}",
                f"{lark.mark(kind.call)} {head(lark, t)} {_arguments(lark, t)} {tail} {lark.mark(kind.call_end)}",
            )
            for t in tools
        ]
        return f"{lark.mark(kind.section)} {_several(calls, between, parallel)} {lark.mark(kind.section_end)}"

    return write


def _deep_head(lark: _Lark, tool: _Tool) -> str:
    name = json.dumps(f"{tool.name}\n```json\n")
    return f'"function" {lark.mark(DeepSeekParser.separator)} {name}'


def _deep_31_head(lark: _Lark, tool: _Tool) -> str:
    return f"{json.dumps(tool.name)} {lark.mark(DeepSeekParser.separator)}"


def _kimi_head(lark: _Lark, tool: _Tool) -> str:
    return f"{json.dumps(f'functions.{tool.name}:')} /[0-9]{{1,3}}/ {lark.mark(KimiParser.separator)}"


def _listed(begin: str, end: str, between: str = '", "') -> "Writer":
    """Objects in a list between two marks; an empty mark is none."""

    def write(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
        objects = _several([_object(lark, tool) for tool in tools], between, parallel)
        return f'{lark.mark(begin)} "[" {objects} "]" {lark.mark(end) if end else ""}'

    return write


def _mistral_args(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    begin, args = lark.mark("[TOOL_CALLS]"), lark.mark("[ARGS]")
    calls = [lark.rule(f"call_{t.i}", f"{begin} {json.dumps(t.name)} {args} {_arguments(lark, t)}") for t in tools]
    return _several(calls, "", parallel)


def _llama3(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    return _several([_object(lark, tool, "parameters") for tool in tools], '"; "', parallel)


def _harmony(lark: _Lark, tools: Sequence[_Tool], _parallel: bool) -> str:
    marks = lark.mark(harmony.CHANNEL), lark.mark(harmony.CONSTRAIN), lark.mark(harmony.MESSAGE)
    heads = [(t, json.dumps(f"commentary to=functions.{t.name} ")) for t in tools]
    calls = [
        lark.rule(f"call_{t.i}", f'{marks[0]} {head} {marks[1]} "json" {marks[2]} {_arguments(lark, t)}')
        for t, head in heads
    ]
    return _several(calls, "", False)


def _gemma(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    begin, end = lark.mark(GEMMA_OPEN), lark.mark(GEMMA_CLOSE)
    heads = [(t, json.dumps(f"call:{t.name}")) for t in tools]
    calls = [lark.rule(f"call_{t.i}", f"{begin} {head} {_arguments(lark, t)} {end}") for t, head in heads]
    return _several(calls, "", parallel)


def _dsml(lark: _Lark, tools: Sequence[_Tool], parallel: bool) -> str:
    calls = [_dsml_call(lark, tool) for tool in tools]
    between = r"/\n?/"
    begin, end = _dsml_text(lark, dsml_calls.OPEN + "\n"), _dsml_text(lark, dsml_calls.CLOSE)
    return f"{begin} {_several(calls, between, parallel)} {between} {end}"


def _dsml_text(lark: _Lark, text: str) -> str:
    """A text with the format's mark in it."""
    parts = [json.dumps(part) for part in text.split(dsml_calls.MARK)]
    return f" {lark.mark(dsml_calls.MARK)} ".join(parts)


def _dsml_call(lark: _Lark, tool: _Tool) -> str:
    """A schema that parameters one by one cannot keep to holds one object in their place."""
    head, end = _dsml_text(lark, f'{dsml_calls.INVOKE}{tool.name}">\n'), _dsml_text(lark, dsml_calls.INVOKE_END)
    if not _is_plain(tool.schema):
        return lark.rule(f"call_{tool.i}", f"{head} {_arguments(lark, tool)} {end}")
    required, parts = tool.schema.get("required"), []
    for i, (key, schema) in enumerate(parameters_of(tool.schema).items()):
        kind = "true" if is_text(schema) else "false"
        before = _dsml_text(lark, f'{dsml_calls.PARAMETER}{key}{dsml_calls.STRING}{kind}">')
        value = _dsml_value(lark, f"value_{tool.i}_{i}", tool, schema)
        name = lark.rule(f"parameter_{tool.i}_{i}", f'{before} {value} "\\n"')
        parts.append(name if isinstance(required, list) and key in required else f"{name}?")
    return lark.rule(f"call_{tool.i}", f"{head} {' '.join(parts)} {end}")


def _dsml_value(lark: _Lark, name: str, tool: _Tool, schema: Any) -> str:
    """A value and what ends it; text may hold the end's first characters where a control token follows them."""
    slash, tail = dsml_calls.PARAMETER_END.split(dsml_calls.MARK)
    mark = lark.mark(dsml_calls.MARK)
    if not mark.startswith("<["):
        return _value(lark, name, tool, schema, "", dsml_calls.PARAMETER_END)
    if is_text(schema) and not _words(schema):
        text = lark.rule(name, r"/(?s:.*)<\//")
        return f"{text} {mark} {json.dumps(tail)}"
    return f"{_value(lark, name, tool, schema, '', slash)} {mark} {json.dumps(tail)}"


Writer = Callable[[_Lark, Sequence[_Tool], bool], str]
_WRITERS: Mapping[str, Writer] = {
    "hermes": _hermes,
    "qwen3-coder": _coder,
    "glm": _glm,
    "deepseek": _sections(DeepSeekParser, _deep_head, r'"\n```"', r'"\n"'),
    "deepseek-v3.1": _sections(DeepSeekParser, _deep_31_head, "", ""),
    "deepseek-v3.2": _dsml,
    "lfm2": _listed(python_calls.OPEN, python_calls.CLOSE),
    "kimi-k2": _sections(KimiParser, _kimi_head, "", ""),
    "mistral": _listed("[TOOL_CALLS]", ""),
    "mistral-args": _mistral_args,
    "nemotron": _listed("<TOOLCALL>", "</TOOLCALL>"),
    "granite": _listed("<|tool_call|>", ""),
    "llama3": _llama3,
    "harmony": _harmony,
    "gemma4": _gemma,
}
