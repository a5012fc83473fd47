"""What was said so far, as the prompt of the next answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model import Model
from ..text.answers.deltas import Answer
from ..text.answers.formats import PLAIN, AnswerFormat
from ..text.answers.parser import AnswerParser
from ..text.chat import ChatPrompt

STAND_INS = {
    "chatml": "the file has no chat template: ChatML is used, whose tokens it has",
    "plain": "the file has no chat template and no tokens for one: plain `User:` and `Assistant:` lines are used",
    "code": "this model completes Python code and was not trained to chat: it goes on from what you type",
}


@dataclass(frozen=True)
class ChatFormat:
    """How a chat is rendered and its answers are read. variables: of the template."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str = "auto"


class Conversation:
    """Messages in the model's chat format, or, for a model that only completes, one growing text."""

    def __init__(self, model: Model, system: str | None, is_code: bool, form: ChatFormat | None = None) -> None:
        self._model, self.system, self._is_code = model, system, is_code
        self._form = form or ChatFormat()
        self._messages: list[dict[str, Any]] = []

    @property
    def kind(self) -> str:
        return "code" if self._is_code else self._model.chat_template.kind

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self._is_code else self._model.chat_template.stops

    @property
    def answers(self) -> AnswerFormat:
        return PLAIN if self._is_code else self._model.chat_template.answers

    def add(self, role: str, text: str) -> None:
        self._messages.append({"role": role, "content": text})

    def add_answer(self, answer: Answer) -> None:
        self._messages.append(answer.message())

    def take_back(self) -> None:
        """Forget the last message."""
        self._messages.pop()

    def shorten(self, n_most: int) -> tuple[ChatPrompt, int]:
        """Forget the oldest turns, all but the last message if need be, until the prompt has at most n_most tokens.

        The prompt, and how many turns went. When the last message alone is longer, nothing is forgotten.
        """
        kept, starts = self._messages, [i for i, m in enumerate(self._messages) if m["role"] == "user"]
        for n_turns, start in enumerate(starts):
            self._messages = kept[start:]
            if len((prompt := self.prompt()).ids) <= n_most:
                return prompt, n_turns
        self._messages = kept
        return self.prompt(), 0

    def clear(self) -> None:
        self._messages.clear()

    def prompt(self) -> ChatPrompt:
        """The prompt for the next answer."""
        said: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        said += self._messages
        if self._is_code:
            text = _joined(said)
            return ChatPrompt(text, self._model.tokenize(text))
        return self._model.chat_template.prompt(self._model.tokenizer, said, **self._form.variables)

    def parser(self, prompt: ChatPrompt) -> AnswerParser:
        """What reads the answer to a prompt."""
        return self.answers.parser(prompt=prompt.text, reasoning="none" if self._is_code else self._form.reasoning)


def _joined(said: list[dict[str, Any]]) -> str:
    """One text: an answer goes on right where the words before it end; what is typed begins a line."""
    text = ""
    for message in said:
        begins_line = message["role"] != "assistant" and text and not text.endswith("\n")
        text += ("\n" if begins_line else "") + message["content"]
    return text
