"""One answer: prompt in, pieces out to the screen, stopped by Ctrl-C without harm to the states on the device."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from ..engine.generate import Timings
from ..errors import VkrunError
from ..model import Model
from ..text.sampler import SamplerSettings
from .run_options import RunOptions
from .screen import Screen

PIECE = 512  # tokens of a prompt between two looks at Ctrl-C


class Stop:
    """`asked` is set by the first Ctrl-C, so that a step on the device is never torn; a second one interrupts."""

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


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


@dataclass
class Answers:
    """Makes answers with one model. `settings`, `n_predict` and `stops` may change between them."""

    model: Model
    settings: SamplerSettings
    n_predict: int | None = None
    ignore_eos: bool = False
    stops: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)
    total_s: float = 0.0
    interrupted: bool = False
    _n_held: int = 0

    def answer(self, ids: list[int], screen: Screen) -> str:
        """Generate after `ids`, writing pieces as they come. VkrunError when they do not fit the context."""
        n_ctx = self.model.info.n_ctx
        if len(ids) >= n_ctx:
            raise VkrunError(f"the prompt has {len(ids)} tokens, the context holds {n_ctx}; a larger -c holds more")
        start, pieces = time.perf_counter(), []
        with stoppable() as stop, lines_apart(screen):
            self.timings = Timings()
            for piece in self._pieces(ids, stop):
                screen.write(piece)
                pieces.append(piece)
        self.total_s = time.perf_counter() - start
        self.interrupted = stop.asked
        self._n_held = self.timings.n_prompt + self.timings.n_generated
        return "".join(pieces)

    def _pieces(self, ids: list[int], stop: Stop) -> Iterator[str]:
        if not self._feed(ids, stop):
            return
        made = self.model.generate_from(ids, self.settings, self.n_predict, self.stops, self.ignore_eos)
        for piece in made:
            yield piece
            if stop.asked:
                break
        self._add(self.model.timings)

    def _feed(self, ids: list[int], stop: Stop) -> bool:
        """Evaluate a long prompt piece by piece, but for the last; False when stopped on the way."""
        for n in range(self._n_held + PIECE, len(ids), PIECE):
            for _ in self.model.generate_from(ids[:n], self.settings, max_tokens=0):
                pass  # no token is asked for: the prompt alone is evaluated
            self._add(self.model.timings)
            if stop.asked:
                return False
        return not stop.asked

    def _add(self, part: Timings) -> None:
        """Timings of one piece more; what the first one found cached is cached, the pieces after it go on from it."""
        total = self.timings
        if not total.n_prompt:
            total.n_cached = part.n_cached
        total.n_prompt = part.n_prompt
        total.prompt_s += part.prompt_s
        total.n_generated, total.generate_s, total.ended = part.n_generated, part.generate_s, part.ended


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
