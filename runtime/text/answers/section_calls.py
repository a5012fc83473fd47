"""Calls in sections of control tokens: DeepSeek's and Kimi's, a call being `<begin>head<separator>{...}<end>`."""

from .parser import AnswerParser, Broken, Steps


class SectionParser(AnswerParser):
    """Marks of a section and of a call in it; a call is recognised without its section too."""

    section, section_end = "", ""
    call, separator, call_end = "", "", ""

    def _calls(self, mark: str) -> Steps[None]:
        if mark == self.section:
            self._cut(len(mark))
        if (yield from self._next(self.call)) is None:
            raise Broken
        while (yield from self._maybe(self.call)):
            name, call_id = yield from self._head()
            if (yield from self._next("{")) is None:
                raise Broken
            self._begin_call(name, call_id)
            yield from self._json(self._argue)
            self._end_call()
            yield from self._maybe("```")
            yield from self._maybe(self.call_end)
        yield from self._maybe(self.section_end)

    def _head(self) -> Steps[tuple[str, str | None]]:
        """Name and id of a call, and all that stands before its arguments cut off."""
        name = (yield from self._until(self.separator)).strip()
        self._cut(len(self.separator))
        return name, None


class DeepSeekParser(SectionParser):
    """V3 and R1 write `function<sep>name` and the arguments as a block of Markdown, V3.1 `name<sep>` and arguments."""

    section, section_end = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
    call, call_end = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
    separator = "<\uff5ctool\u2581sep\uff5c>"
    begins = (section, call)

    def _head(self) -> Steps[tuple[str, str | None]]:
        name, _ = yield from super()._head()
        if name == "function" and (yield from self._next("{")) is None:
            name = (yield from self._until("\n", "```")).strip()
            yield from self._maybe("```json", "```")
        return name, None


class KimiParser(SectionParser):
    """Kimi K2: heads are `functions.name:index`, which its template wants back as the call's id."""

    section, section_end = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
    call, call_end = "<|tool_call_begin|>", "<|tool_call_end|>"
    separator = "<|tool_call_argument_begin|>"
    begins = (section, call)

    def _head(self) -> Steps[tuple[str, str | None]]:
        head, _ = yield from super()._head()
        return head.removeprefix("functions.").rpartition(":")[0] or head, head
