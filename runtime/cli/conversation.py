"""What was said so far, as the prompt of the next answer."""

from ..model import Model

STAND_INS = {
    "chatml": "the file has no chat template: ChatML is used, whose tokens it has",
    "plain": "the file has no chat template and no tokens for one: plain `User:` and `Assistant:` lines are used",
    "code": "this model completes Python code and was not trained to chat: it goes on from what you type",
}


class Conversation:
    """Messages in the model's chat format, or, for a model that only completes, one growing text."""

    def __init__(self, model: Model, system: str | None, is_code: bool) -> None:
        self._model, self.system, self._is_code = model, system, is_code
        self._messages: list[dict[str, str]] = []

    @property
    def kind(self) -> str:
        return "code" if self._is_code else self._model.chat_template.kind

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self._is_code else self._model.chat_template.stops

    def add(self, role: str, text: str) -> None:
        self._messages.append({"role": role, "content": text})

    def take_back(self) -> None:
        """Forget the last message."""
        self._messages.pop()

    def shorten(self, n_most: int) -> tuple[list[int], int]:
        """Forget the oldest turns, all but the last message if need be, until the prompt has at most n_most tokens.

        Its ids, and how many turns went. When the last message alone is longer, nothing is forgotten.
        """
        kept, starts = self._messages, [i for i, m in enumerate(self._messages) if m["role"] == "user"]
        for n_turns, start in enumerate(starts):
            self._messages = kept[start:]
            if len(ids := self.ids()) <= n_most:
                return ids, n_turns
        self._messages = kept
        return self.ids(), 0

    def clear(self) -> None:
        self._messages.clear()

    def ids(self) -> list[int]:
        """Token ids of the prompt for the next answer."""
        said = [{"role": "system", "content": self.system}] if self.system else []
        said += self._messages
        if self._is_code:
            return self._model.tokenize(_joined(said))
        return self._model.chat_template.prompt(self._model.tokenizer, said).ids


def _joined(said: list[dict[str, str]]) -> str:
    """One text: an answer goes on right where the words before it end; what is typed begins a line."""
    text = ""
    for message in said:
        begins_line = message["role"] != "assistant" and text and not text.endswith("\n")
        text += ("\n" if begins_line else "") + message["content"]
    return text
