"""gpt-oss' harmony: an answer is messages, each with a channel, and those with a tool as their recipient are calls."""

import re

from .parser import AnswerParser, Broken, Steps

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
_RECIPIENT = re.compile(r"\bto=(\S+?)(?=<\||\s|\Z)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
MAX_HEAD = 1024


class HarmonyParser(AnswerParser):
    """The channel `analysis` is reasoning, unless the setting leaves it where it is; every other one is content."""

    def _answer(self) -> Steps[None]:
        if (yield from self._next(START, CHANNEL, MESSAGE, "to=")) is not None:
            yield from self._message()
        self._say("".join(self._raw))
        while (yield from self._stream((START, CHANNEL), self._say)):
            yield from self._message()
        self._end()

    def _message(self) -> Steps[None]:
        try:
            head = yield from self._until(MESSAGE, most=MAX_HEAD)
        except Broken:  # a mark that heads nothing
            self._cut(1)
            self._say("".join(self._raw))
            return
        self._cut(len(MESSAGE))
        recipient, channel = _RECIPIENT.search(head), _CHANNEL.search(head)
        if recipient and self._is_tool(recipient[1]):
            yield from self._try(self._call(recipient[1]))
        elif channel and channel[1] == "analysis":
            yield from self._analysis()
        else:
            yield from self._final()

    def _is_tool(self, recipient: str) -> bool:
        return bool(self.setting.tools) and (recipient.startswith("functions.") or recipient in self.setting.tools)

    def _call(self, recipient: str) -> Steps[None]:
        if (yield from self._next("{")) is None:
            raise Broken
        self._begin_call(recipient.removeprefix("functions."))
        yield from self._json(self._argue)
        self._end_call()
        yield from self._maybe(*ENDS)

    def _analysis(self) -> Steps[None]:
        if self.setting.tags is None:
            self._say("".join(self._raw))
            yield from self._stream((*ENDS, START), self._say)
            self._say((yield from self._maybe(*ENDS)) or "")
            return
        self._blank, self._trims, self._raw = "", True, []
        yield from self._stream((*ENDS, START), self._think)
        yield from self._ended()

    def _final(self) -> Steps[None]:
        self._raw = []
        yield from self._stream((*ENDS, START), self._say)
        yield from self._ended()

    def _ended(self) -> Steps[None]:
        """The mark behind a message goes, and the white space about it."""
        yield from self._maybe(*ENDS)
        self._raw, self._blank, self._trims = [], "", True
