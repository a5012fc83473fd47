"""One answer: prompt in, pieces out to the screen, stopped by Ctrl-C without harm to the states on the device."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from ..engine.generation import Generation
from ..engine.sequence import Timings
from ..errors import VkrunError
from ..model import Model
from ..text.answers.deltas import Answer, Content, Delta, Reasoning, answer_of
from ..text.answers.formats import PLAIN
from ..text.answers.parser import AnswerParser
from ..text.grammar import Grammar
from ..text.sampler import SamplerSettings
from .progress import Bar
from .run_options import RunOptions
from .screen import Screen


class Stop:
    """The first Ctrl-C stops a generation, so that a step on the device is never torn; a second one interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self.generation: Generation | None = None

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self.generation:
            self.generation.stop()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While inside, Ctrl-C sets the Stop instead of raising KeyboardInterrupt."""
    stop = Stop()
    before = signal.signal(signal.SIGINT, stop.on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def lines_apart(screen: Screen) -> Iterator[None]:
    """What an error says begins a line of its own."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # a pipe that broke is the error itself
            screen.break_line()
        raise


def together(pieces: Iterator[str], waits: Callable[[], bool]) -> Iterator[str]:
    """Where it waits the first piece comes with the second one: by then all that a step needs is compiled, which had a
    bar to show."""
    if first := next(pieces, ""):
        yield first + (next(pieces, "") if waits() else "")
    yield from pieces


def read(parser: AnswerParser, pieces: Iterable[str]) -> Iterator[list[Delta]]:
    """What each piece tells, and at last what the end does."""
    for piece in pieces:
        yield parser.feed(piece)
    yield parser.finish()


@dataclass
class Answers:
    """Makes answers with one model. `settings`, `n_predict`, `stops` and `hides_reasoning` may change between them.

    shown: texts of control tokens that parsers want to see.
    """

    model: Model
    settings: SamplerSettings
    n_predict: int | None = None
    ignore_eos: bool = False
    stops: tuple[str, ...] = ()
    grammar: Grammar | None = None
    bar: Bar = field(default_factory=Bar)
    timings: Timings = field(default_factory=Timings)
    total_s: float = 0.0
    interrupted: bool = False
    shown: tuple[str, ...] = ()
    hides_reasoning: bool = False

    def answer(self, ids: list[int], screen: Screen, parser: AnswerParser | None = None) -> Answer:
        """Generate after `ids`, writing pieces as they come. VkrunError when they do not fit the context.

        parser: what tells reasoning from content, where anything does.
        """
        n_ctx = self.model.info.n_ctx
        if len(ids) >= n_ctx:
            raise VkrunError(f"the prompt has {len(ids)} tokens, the context holds {n_ctx}; a larger -c holds more")
        start, told = time.perf_counter(), []
        parser = parser or PLAIN.parser(reasoning="none")
        with stoppable() as stop, lines_apart(screen), self.bar.lines_of_others() as write_begins:
            made = self._generation(ids)
            stop.generation, self.timings = made, made.timings
            made.watch(lambda n: self.bar("reading", n, len(ids)))
            for deltas in read(parser, together(made, self.bar.may_come_again)):
                write_begins()
                told += deltas
                self._show(deltas, screen)
        self.total_s = time.perf_counter() - start
        self.interrupted = stop.asked
        return answer_of(told)

    def _generation(self, ids: list[int]) -> Generation:
        how = self.settings, self.n_predict, self.stops, self.ignore_eos, self.grammar, self.shown
        return self.model.generate_from(ids, *how)

    def _show(self, deltas: Iterable[Delta], screen: Screen) -> None:
        for delta in deltas:
            if isinstance(delta, Content):
                screen.write(delta.text)
            elif isinstance(delta, Reasoning) and not self.hides_reasoning:
                screen.think(delta.text)


def sampler_settings(options: RunOptions) -> SamplerSettings:
    """UsageError for a value out of its range."""
    return SamplerSettings(
        temp=options.temp,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repeat_penalty=options.repeat_penalty,
        repeat_last_n=options.repeat_last_n,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        seed=options.seed,
        logit_bias=options.logit_bias,
    )


def stats_text(timings: Timings, load_s: float, total_s: float) -> str:
    """The lines of --stats, in llama.cpp's terms. load_s: the model's; total_s: of the answer."""
    n_read = timings.n_prompt - timings.n_cached
    rows = [
        ("load time", load_s, ""),
        ("prompt eval time", timings.prompt_s, _rate(n_read, timings.prompt_s, "tokens")),
        ("eval time", timings.generate_s, _rate(timings.n_generated, timings.generate_s, "runs")),
        ("total time", total_s, f" / {n_read + timings.n_generated:5d} tokens"),
    ]
    lines = [f"vkrun: {name:>16} = {seconds * 1000:10.2f} ms{rest}" for name, seconds, rest in rows]
    cached = f", {timings.n_cached} prompt tokens were cached" if timings.n_cached else ""
    return "\n".join(lines) + cached


def _rate(n: int, seconds: float, unit: str) -> str:
    each, rate = (seconds * 1000 / n, n / seconds) if n and seconds else (0.0, 0.0)
    return f" / {n:5d} {unit:<6} ({each:8.2f} ms per token, {rate:8.2f} tokens per second)"
