"""The chat: messages and commands from the terminal, answers to it."""

from collections.abc import Callable

from ..errors import VkrunError
from ..text.chat import ChatPrompt
from .answer import Answers, stats_text
from .conversation import STAND_INS, Conversation
from .line_input import LineInput
from .screen import Screen, lines, note
from .settings import change, settings_text

HELP = '''/clear            forget the conversation; in a full context its oldest turns go by themselves
/set NAME VALUE   change a setting; /set alone lists them
/stats            timings of the last answer
/bye              leave (so does Ctrl-D)
/help             this text
"""               begins a message of several lines, which ends at the next """
Ctrl-C            stops the answer'''

INTERRUPTED = 130
TOO_FULL, FULL_AGAIN = 7 / 8, 5 / 8  # shares of the context: above the first turns are forgotten, down to the second


class Chat:
    """One conversation. `load_s`: how long the model took to load, for the figures."""

    def __init__(self, answers: Answers, conversation: Conversation, load_s: float, stats: bool) -> None:
        self._answers, self._load_s, self._stats = answers, load_s, stats
        self._conversation = conversation
        self._answers.shown = conversation.answers.shown
        self._stops = answers.stops
        self._answered = self._leaving = False
        self._commands: dict[str, Callable[[str], None]] = {
            "/clear": self._clear,
            "/set": self._set,
            "/stats": self._show_stats,
            "/bye": self._leave,
            "/exit": self._leave,
            "/quit": self._leave,
            "/help": self._help,
            "/?": self._help,
        }

    def run(self, first: str | None, once: bool) -> int:
        """Answer the first message, if there is one, and then, unless `once`, what is typed. The exit code."""
        self._greet(once)
        with LineInput() as typed:
            message = first if first is not None else typed.said()
            while message is not None and not self._leaving:
                self._take(message, once)
                message = None if once or self._leaving else typed.said()
        return INTERRUPTED if once and self._answers.interrupted else 0

    def _greet(self, once: bool) -> None:
        info, kind = self._answers.model.info, self._conversation.kind
        self._answers.stops = (*self._stops, *self._conversation.stops)
        if kind != "code":
            self._answers.model.chat_template.start()
        if kind in STAND_INS:
            note(STAND_INS[kind])
        if not once:
            note(f"{info.name} on {info.device}; /help lists the commands")

    def _take(self, message: str, once: bool) -> None:
        """A command, an answer, or one line that says why there is none; with `once` that is the program's error."""
        try:
            if message.startswith("/") and not once:
                self._command(message)
            else:
                self._answer(message)
        except VkrunError as error:
            if once:
                raise
            note(str(error))

    def _answer(self, message: str) -> None:
        screen, talk = Screen(), self._conversation
        talk.add("user", message)
        try:
            prompt = self._prompt()
            answer = self._answers.answer(prompt.ids, screen, talk.parser(prompt))
        except BaseException:
            talk.take_back()
            raise
        talk.add_answer(answer)
        screen.end_line()
        self._answered = True
        if self._answers.timings.ended == "context":
            note(f"the context of {self._n_ctx} tokens is full; the oldest turns make room for the next message")
        if self._stats:
            self._show_stats("")

    @property
    def _n_ctx(self) -> int:
        return self._answers.model.info.n_ctx

    def _prompt(self) -> ChatPrompt:
        """The prompt, without the oldest turns where those leave too little room for an answer.

        Once turns have to go, so many go that the next ones need not: what is left is read anew. VkrunError when the
        message alone does not fit.
        """
        prompt, n_turns = self._conversation.prompt(), 0
        for share in (FULL_AGAIN, TOO_FULL, 1) if len(prompt.ids) > self._n_ctx * TOO_FULL else ():
            prompt, n_turns = self._conversation.shorten(int(self._n_ctx * share) - 1)
            if n_turns:
                break
        if (n := len(prompt.ids)) >= self._n_ctx:
            raise VkrunError(f"the message has {n} tokens, the context holds {self._n_ctx}; a larger -c holds more")
        if n_turns:
            turns = "the oldest turn is" if n_turns == 1 else f"the {n_turns} oldest turns are"
            note(f"{turns} forgotten to make room in the context of {self._n_ctx} tokens")
        return prompt

    def _command(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        if name not in self._commands:
            raise VkrunError(f"no command {name:.40}; /help lists them")
        self._commands[name](rest.strip())

    def _clear(self, _rest: str) -> None:
        self._conversation.clear()
        note("the conversation is forgotten")

    def _set(self, rest: str) -> None:
        if not rest:
            lines(settings_text(self._answers, self._conversation))
        else:
            note(change(self._answers, self._conversation, rest))

    def _show_stats(self, _rest: str) -> None:
        if not self._answered:
            raise VkrunError("no answer yet, so there are no timings")
        timings = self._answers.timings
        lines(stats_text(timings, self._load_s, self._answers.total_s))
        note(f"{timings.n_prompt + timings.n_generated} of {self._n_ctx} tokens of context")

    def _leave(self, _rest: str) -> None:
        self._leaving = True

    def _help(self, _rest: str) -> None:
        lines(HELP)
