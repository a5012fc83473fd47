"""Which format a model's answers have, told by the text of its chat template."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...errors import UsageError
from . import dsml_calls, gemma_calls, harmony, python_calls, tag_calls
from .json_calls import GraniteParser, LlamaParser, MistralParser, NemotronParser
from .parser import BLANKS, AnswerParser, Setting, random_ids
from .schema import tool_schemas
from .section_calls import DeepSeekParser, KimiParser, SectionParser

ReasoningFormat = Literal["auto", "none", "deepseek"]
REASONING_FORMATS: tuple[str, ...] = get_args(ReasoningFormat)
THINK = ("<think>", "</think>")


@dataclass(frozen=True)
class AnswerFormat:
    """How a family writes reasoning and calls.

    shown: texts of control tokens which the parser has to see, where the vocabulary has them (`Detokenizer`'s `shown`).
    """

    name: str
    kind: type[AnswerParser]
    shown: tuple[str, ...] = ()
    tags: tuple[str, str] = THINK
    anywhere: bool = False  # reasoning may begin behind content

    def parser(
        self,
        tools: Sequence[Mapping[str, Any]] | None = None,
        prompt: str = "",
        reasoning: str = "auto",
        eager: bool = True,
        ids: Iterator[str] | None = None,
    ) -> AnswerParser:
        """A parser of one answer.

        tools: in OpenAI's form; without any, calls stay content. prompt: the text that the answer follows (its end is
        enough), which may have begun to reason. reasoning: "none" leaves it in the content, "deepseek" and "auto" tell
        of it apart, as llama.cpp's --reasoning-format. eager: tell of calls while they are made, as streaming wants it;
        else only of whole ones. ids: of calls, where the model gives none.
        """
        check_reasoning(reasoning)
        tags = None if reasoning == "none" else self.tags
        opened = tags is not None and prompt.rstrip(BLANKS).endswith(tags[0].rstrip(BLANKS))
        return self.kind(Setting(tool_schemas(tools), tags, opened, self.anywhere, eager, ids or random_ids()))


def check_reasoning(value: str) -> str:
    if value not in REASONING_FORMATS:
        raise UsageError(f"reasoning format: {value!r:.40}, expected one of {', '.join(REASONING_FORMATS)}")
    return value


_BRACKETS = ("[THINK]", "[/THINK]")
_HARMONY_TOKENS = (harmony.START, harmony.CHANNEL, harmony.CONSTRAIN, harmony.MESSAGE, "<|end|>")
_GEMMA_TAGS = ("<|channel>thought\n", "<channel|>")


def _of_sections(name: str, kind: type[SectionParser]) -> AnswerFormat:
    marks = (kind.section, kind.section_end, kind.call, kind.separator, kind.call_end)
    return AnswerFormat(name, kind, (*marks, *THINK))


def _of_tags(name: str) -> AnswerFormat:
    return AnswerFormat(name, tag_calls.TagParser, (tag_calls.OPEN, tag_calls.CLOSE, *THINK))


def _mistral(name: str, tags: tuple[str, str]) -> AnswerFormat:
    return AnswerFormat(name, MistralParser, ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", *tags), tags, tags == _BRACKETS)


_KIMI = _of_sections("kimi-k2", KimiParser)
_LFM2 = AnswerFormat("lfm2", python_calls.PythonParser, (python_calls.OPEN, python_calls.CLOSE, *THINK))
PLAIN = AnswerFormat("plain", AnswerParser, THINK)
# what a template holds of a format, all of it, and the format; the first that fits
_FORMATS: tuple[tuple[tuple[str, ...], AnswerFormat], ...] = (
    ((harmony.CHANNEL, harmony.MESSAGE), AnswerFormat("harmony", harmony.HarmonyParser, _HARMONY_TOKENS)),
    (
        (gemma_calls.OPEN, gemma_calls.CLOSE),
        AnswerFormat(
            "gemma4",
            gemma_calls.GemmaParser,
            (gemma_calls.OPEN, gemma_calls.CLOSE, gemma_calls.QUOTE, "<|channel>", "<channel|>"),
            _GEMMA_TAGS,
            anywhere=True,
        ),
    ),
    ((KimiParser.section,), _KIMI),
    (("<|im_middle|>", "tools"), _KIMI),  # whose first template left the format of calls to the model
    ((dsml_calls.MARK,), AnswerFormat("deepseek-v3.2", dsml_calls.DsmlParser, (dsml_calls.MARK, *THINK))),
    (("<|tool_list_start|>",), _LFM2),  # whose template leaves the format of calls to the model
    ((python_calls.OPEN,), _LFM2),
    ((DeepSeekParser.call, "```json"), _of_sections("deepseek", DeepSeekParser)),
    ((DeepSeekParser.call,), _of_sections("deepseek-v3.1", DeepSeekParser)),
    ((tag_calls.KEY,), _of_tags("glm")),
    ((tag_calls.FUNCTION, tag_calls.PARAMETER), _of_tags("qwen3-coder")),
    ((tag_calls.OPEN,), _of_tags("hermes")),
    (("[TOOL_CALLS]", "[ARGS]", "[THINK]"), _mistral("mistral-args", _BRACKETS)),
    (("[TOOL_CALLS]", "[THINK]"), _mistral("mistral", _BRACKETS)),
    (("[TOOL_CALLS]", "[ARGS]"), _mistral("mistral-args", THINK)),
    (("[TOOL_CALLS]",), _mistral("mistral", THINK)),
    (("<TOOLCALL>",), AnswerFormat("nemotron", NemotronParser, ("<TOOLCALL>", "</TOOLCALL>", *THINK))),
    (("<|tool_call|>",), AnswerFormat("granite", GraniteParser, ("<|tool_call|>", "<|/tool_call|>", *THINK))),
    (("<|start_header_id|>", "tools"), AnswerFormat("llama3", LlamaParser, ("<|python_tag|>", *THINK))),
    (("[THINK]",), AnswerFormat("plain", AnswerParser, _BRACKETS, _BRACKETS, True)),
)


def format_of(template: str) -> AnswerFormat:
    """The format that a chat template's text shows; one without calls where it shows none."""
    return next((found for marks, found in _FORMATS if all(mark in template for mark in marks)), PLAIN)
