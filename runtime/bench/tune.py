"""Which thresholds of Tuning suit a device: both sides of each are timed in steps of a model, and what wins is kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from statistics import fmean, median

import numpy as np

from .. import tuning
from ..engine.engine import Engine, Progress, Ready
from ..model import load, tuning_key
from ..models.step import Chunk, StepShape
from ..tuning import CHOICES, Choice, Tuning
from .report import Emit, line

N_CTX = 256
N_WARM, N_TURNS = 2, 5
SLICE_S = 0.04  # of replays one after the other, in each turn
WINS = 1.03  # times as fast: less is not told from noise
AGREE = 1e-3  # NMSE of logits: matrices multiply halves
BARRED = 100.0  # log of how much slower a way counts whose results are others
COLUMNS = ("choice", "from", "default", "best", "times as fast", "note")

Clock = Callable[[Ready], float]


def replay_seconds(ready: Ready) -> float:
    """The mean of some replays, each submitted and waited for as a user's step is. Timestamps of nodes would want a
    recording each time, during which the card idles and may lower its clock."""
    start, n = time.perf_counter(), 0
    while not n or time.perf_counter() < start + SLICE_S:
        ready.program.run()
        n += 1
    return (time.perf_counter() - start) / n


@dataclass
class Trials:
    """logs, by choice and tokens: of how many times as long steps take above the threshold as below it."""

    logs: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, choice: Choice, n: int, times: float) -> None:
        self.logs.setdefault((choice.name, n), []).append(times)

    def found(self, choice: Choice) -> tuple[int, float] | None:
        """The best threshold and how many times as fast it is as the default where the two differ, which stays where it
        wins by less than WINS; None where nothing could be tried."""
        means = {n: fmean(self.logs[key]) for n in choice.sizes if (key := (choice.name, n)) in self.logs}
        if not means:
            return None
        own = getattr(Tuning(), choice.name)

        def cost(threshold: int) -> float:
            return sum(mean for n, mean in means.items() if n >= threshold)

        best = min((own, *choice.candidates), key=cost)  # of equals the first
        n_other = sum((n >= best) != (n >= own) for n in means)
        times = exp(min((cost(own) - cost(best)) / max(n_other, 1), BARRED))
        return (best, times) if times > WINS else (own, 1.0)


@dataclass(frozen=True)
class Tuner:
    """Times an engine's steps of one sequence, all of whose logits are wanted, with random tokens."""

    engine: Engine
    trials: Trials
    progress: Progress
    clock: Clock = replay_seconds

    def run(self) -> None:
        """Everything is as it was by default afterwards; nothing is kept yet."""
        sizes = sorted({n for choice in CHOICES for n in choice.sizes})
        for i, n in enumerate(sizes):
            self.progress("tuning", i, len(sizes))
            self._size(n)
        self.engine.device.tune(Tuning())
        self.progress("tuning", len(sizes), len(sizes))

    def _size(self, n: int) -> None:
        ids = np.random.default_rng(n).integers(0, self.engine.model.params.n_vocab, n).tolist()
        chunk = Chunk(0, 0, ids)
        shape = self.engine.step_shape([chunk], n, every=True, embeddings=False, hidden=False)
        ways = dict(self._ways(n, shape))
        if len(ways) == 1:
            return
        made = {name: self._made(way, shape) for name, way in ways.items()}
        try:
            outputs = {name: self._output(ready, chunk) for name, ready in made.items()}
            seconds = self._in_turns(made)
        finally:
            for ready in made.values():
                self.engine.drop(ready)
        for choice in (c for c in CHOICES if c.name in ways):
            self._judge(choice, n, outputs, seconds)

    def _ways(self, n: int, shape: StepShape) -> Iterator[tuple[str, Tuning]]:
        """The default, as "", and by the name of a choice the other side of it, where other kernels run there."""
        usual = self._kernels(Tuning(), shape)
        yield "", Tuning()
        for choice in (c for c in CHOICES if n in c.sizes):
            other = n + 1 if n >= getattr(Tuning(), choice.name) else n
            way = replace(Tuning(), **{choice.name: other})
            if self._kernels(way, shape) != usual:
                yield choice.name, way

    def _kernels(self, way: Tuning, shape: StepShape) -> tuple[object, ...]:
        self.engine.device.tune(way)
        return self.engine.device.kernels(self.engine.prepare(shape).plan)

    def _made(self, way: Tuning, shape: StepShape) -> Ready:
        self.engine.device.tune(way)
        return self.engine.compile(shape)

    def _output(self, ready: Ready, chunk: Chunk) -> np.ndarray:
        """Of a sequence that begins anew; the step stays as it is filled."""
        self.engine.reset(0)
        filled = ready.inputs.fill([[chunk]], self.engine.model.capacity.n_ctx)
        self.engine.device.write(ready.inputs.storage, filled)
        ready.program.run()
        self.engine.ran()
        return ready.program.read(ready.output)

    def _in_turns(self, made: dict[str, Ready]) -> dict[str, float]:
        """Medians, so that what else the machine does falls on all alike."""
        turns = [{name: self.clock(ready) for name, ready in made.items()} for _ in range(N_WARM + N_TURNS)]
        return {name: median(turn[name] for turn in turns[N_WARM:]) for name in made}

    def _judge(self, choice: Choice, n: int, outputs: dict[str, np.ndarray], seconds: dict[str, float]) -> None:
        slower = log(seconds[choice.name] / seconds[""])
        if (nmse := _nmse(outputs[choice.name], outputs[""])) > AGREE:
            self.trials.notes[choice.name] = f"other results at {n}: NMSE {nmse:.1e}"
            slower = BARRED
        is_above = n >= getattr(Tuning(), choice.name)  # by default, so that the other way is below
        self.trials.add(choice, n, -slower if is_above else slower)


def _nmse(got: np.ndarray, wanted: np.ndarray) -> float:
    """Infinite where either has no number."""
    error = float(((got - wanted) ** 2).sum() / max(float((wanted**2).sum()), 1e-30))
    return error if np.isfinite(error) else float("inf")


def tune(paths: Sequence[str], backend: str | None, device: str | None, emit: Emit, progress: Progress) -> None:
    """Try every choice in these models, print what was found and keep it for the device's next loads."""
    trials, key, kept = Trials(), {}, Tuning()
    for path in paths:
        with load(path, backend, device, N_CTX, progress=progress) as model:
            key = tuning_key(model.engine.device.info)
            kept, _ = tuning.load(key)
            Tuner(model.engine, trials, progress).run()
    found = {choice.name: best[0] for choice in CHOICES if (best := trials.found(choice))}
    for text in lines(trials):
        emit(text)
    best = replace(kept, **found)
    where = tuning.save(key, best)
    emit("")
    emit(f"{tuning.changes(best)}; " + (f"kept in {where}" if where else "not kept: no place for it, or switched off"))


def lines(trials: Trials) -> list[str]:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(_row(choice, trials) for choice in CHOICES)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [line(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) for row in rows]


def _row(choice: Choice, trials: Trials) -> tuple[str, ...]:
    found, note = trials.found(choice), trials.notes.get(choice.name, "")
    head = (choice.name, choice.what, str(getattr(Tuning(), choice.name)))
    if found is None:
        return (*head, "", "", "nothing to choose here")
    return (*head, str(found[0]), f"{found[1]:.2f}", note or _tried(choice, trials))


def _tried(choice: Choice, trials: Trials) -> str:
    """`2: 1.31, 4: 1.08`: how many times as long steps of so many tokens take above the threshold."""
    tried = ((n, trials.logs.get((choice.name, n))) for n in choice.sizes)
    return ", ".join(f"{n}: {exp(fmean(logs)):.2f}" for n, logs in tried if logs)
