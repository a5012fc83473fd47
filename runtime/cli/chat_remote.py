"""`vkrun chat --server URL`: a chat with a model that a server has, in the terminal."""

from typing import Any

import click

from ..errors import VkrunError
from ..text.sampler import SamplerSettings
from .line_input import LineInput
from .ranges import Whole
from .remote import Remote
from .sampling_options import NAMES, SAMPLING, taken_sampling
from .screen import Screen, lines, note
from .spelling import spelt_command

INTERRUPTED = 130
HELP = '''/clear            forget the conversation
/stats            timings of the last answer
/bye              leave (so does Ctrl-D)
/help             this text
"""               begins a message of several lines, which ends at the next """
Ctrl-C            stops the answer'''


class RemoteChat:
    """One conversation with a server. body: what every request says beside its messages."""

    def __init__(self, remote: Remote, system: str | None, body: dict[str, Any], stats: bool) -> None:
        self._remote, self._body, self._stats = remote, body, stats
        self._start = [{"role": "system", "content": system}] if system else []
        self._said: list[dict[str, str]] = []
        self._timings: dict[str, Any] = {}

    def run(self, first: str | None) -> int:
        """Answer the first message, or else what is typed. The exit code."""
        if first is not None:
            return INTERRUPTED if self._answer(first) else 0
        note(f"{self._remote.model()} at {self._remote.url}; /help lists the commands")
        with LineInput() as typed:
            while (message := typed.said()) is not None and message.strip() not in ("/bye", "/exit", "/quit"):
                self._take(message)
        return 0

    def _take(self, message: str) -> None:
        try:
            if message.startswith("/"):
                self._command(message.strip())
            else:
                self._answer(message)
        except VkrunError as error:
            note(str(error))

    def _command(self, name: str) -> None:
        match name:
            case "/clear":
                self._said.clear()
                note("the conversation is forgotten")
            case "/stats":
                self._show_stats()
            case "/help" | "/?":
                lines(HELP)
            case _:
                raise VkrunError(f"no command {name:.40}; /help lists them")

    def _answer(self, message: str) -> bool:
        """Was it stopped by Ctrl-C? What an answer that failed was to is forgotten."""
        screen, pieces, stopped = Screen(), [], False
        said = [*self._said, {"role": "user", "content": message}]
        try:
            for frame in self._remote.chat({**self._body, "messages": [*self._start, *said]}):
                self._timings = frame.get("timings") or self._timings
                for choice in frame.get("choices") or ():
                    pieces.append(choice["delta"].get("content") or "")
                    screen.write(pieces[-1])
        except KeyboardInterrupt:
            stopped = True
        finally:
            screen.end_line()
        self._said = [*said, {"role": "assistant", "content": "".join(pieces)}]
        if self._stats:
            self._show_stats()
        return stopped

    def _show_stats(self) -> None:
        found = self._timings
        if not found:
            raise VkrunError("no answer yet, so there are no timings")
        note(f"{found['prompt_n']} prompt tokens read, {found['cache_n']} reused, {found['prompt_ms']:.0f} ms")
        note(f"{found['predicted_n']} tokens, {found['predicted_per_second']:.2f} tokens per second")


_OPTIONS = [
    click.option("--server", default="http://127.0.0.1:8080", show_default=True, metavar="URL", help="Where it is."),
    click.option("--api-key", envvar="LLAMA_API_KEY", show_envvar=True, metavar="KEY", help="Where it wants one."),
    click.option("-p", "--prompt", metavar="TEXT", help="One message; leave after its answer."),
    click.option("-sys", "--system-prompt", metavar="TEXT", help="System message."),
    click.option("-n", "--predict", "--n-predict", "predict", type=Whole(-1), metavar="N",
                 help="Most tokens of an answer."),
    *SAMPLING,
    click.option("--stats", is_flag=True, help="Print timings behind each answer."),
]  # fmt: skip


@click.pass_context
def _run(ctx: click.Context, /, **values: Any) -> int:
    """Chat with a server: vkrun's own, or another that has OpenAI's API. What is not said is as the server has it."""
    given = {name for name in NAMES if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
    settings = SamplerSettings(**taken_sampling(values))
    body = {_SPELT.get(name, name): getattr(settings, name) for name in NAMES if name in given}
    if values["predict"] is not None:
        body["max_tokens"] = values["predict"]
    remote = Remote(values["server"], values["api_key"])
    return RemoteChat(remote, values["system_prompt"], body, values["stats"]).run(values["prompt"])


_SPELT = {"temp": "temperature"}
command = spelt_command("chat", _run, _OPTIONS)
