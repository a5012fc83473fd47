"""A benchmark from end to end: load each model once, run every test at every setting, print rows as they come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ..engine.engine import Progress
from ..model import Model, load
from ..version import VERSION
from . import profile
from .ceilings import Ceilings, measure_ceilings, warm_up
from .measure import Measured, Test, run
from .report import Done, Emit, Printer, fields, ladder, printer, replay_table
from .settings import Setting, Wanted


@dataclass
class Session:
    """say: a line of progress; emit, emit_second: lines of results, formats[0] and formats[1] ("none": nothing)."""

    wanted: Wanted
    emit: Emit
    emit_second: Emit
    say: Callable[[str], None] = lambda _: None
    progress: Progress | None = None
    _printers: list[Printer] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _has_started: bool = False

    def run(self, paths: Sequence[str], backend: str | None, device: str | None) -> None:
        varied, emits = self.wanted.varied(), (self.emit, self.emit_second)
        both = zip(self.wanted.formats, emits, strict=True)
        self._printers = [printer(name, emit, varied) for name, emit in both if name != "none"]
        try:
            for path, types in product(paths, self.wanted.cache_types()):
                self._model(path, backend, device, types)
        finally:
            for p in self._printers if self._has_started else []:
                p.end()
        self._print_notes()

    def _model(self, path: str, backend: str | None, device: str | None, types: Mapping[str, Any]) -> None:
        wanted = self.wanted
        self.say(f"loading {path}")
        # without replay every step is compiled anew, and a bar would be measured with it
        progress = None if wanted.no_replay else self.progress
        n_seqs = max(wanted.n_seqs)
        most = max(setting.n_planned(is_software=False) for setting in wanted.settings())
        with load(path, backend, device, wanted.n_ctx, n_seqs, progress=progress, n_ubatch=most, **types) as model:
            self._start()
            ceilings = measure_ceilings(model.engine.device) if wanted.profile else None
            self._notes += self._tables(self._tests(model, ceilings))

    def _start(self) -> None:
        """The tables' heads, once a model could be loaded: an error stands by itself."""
        for p in self._printers if not self._has_started else []:
            p.start()
        self._has_started = True

    def _tests(self, model: Model, ceilings: Ceilings | None) -> list[Done]:
        tests, all_done = list(self.wanted.tests()), []
        for i, test in enumerate(tests):
            done = self._test(model, test, f"{i + 1}/{len(tests)}: {test.name}")
            for each in done:
                self._print(model, each, ceilings)
            model.engine.close()
            all_done += done
        return all_done

    def _test(self, model: Model, test: Test, head: str) -> list[Done]:
        """The settings take turns, run by run, so that what else the machine does falls on all of them alike."""
        done = [(test, setting, Measured(test)) for setting in self.wanted.settings()]
        for i in range(-1 if self.wanted.warmup else 0, self.wanted.n_runs):
            for _, setting, measured in done:
                how = f"opt {setting.opt}" + ("" if setting.replay else ", no replay")
                self.say(f"{head}, {how}, " + (f"run {i + 1}/{self.wanted.n_runs}" if i >= 0 else "warm-up"))
                if i >= 0:
                    measured.samples_ns.append(_run(model, test, setting))
                else:
                    _warm_up(model, test, setting)
        return done

    def _print(self, model: Model, done: Done, ceilings: Ceilings | None) -> None:
        test, setting, measured = done
        row = fields(model.info, setting, VERSION, measured)
        if ceilings and setting.replay:
            _run(model, test, setting)
            made = profile.profile(model.engine.last, ceilings)
            row["profile"] = profile.as_object(made)
            self._notes += ["", profile.heading(made, test.name, setting.opt), "", *profile.lines(made)]
        for p in self._printers:
            p.row(row, test.name)

    def _tables(self, done: Sequence[Done]) -> list[str]:
        """What the rows come to: the ladder of levels, and what replay is worth."""
        ladders = ladder(done) if len(self.wanted.opts) > 1 and done else []
        replays = replay_table(done) if self.wanted.no_replay and done else []
        return [text for lines in (ladders, replays) if lines for text in ("", *lines)]

    def _print_notes(self) -> None:
        """Tables below the rows, where a person reads them."""
        for name, emit in zip(self.wanted.formats, (self.emit, self.emit_second), strict=True):
            for text in self._notes if name == "md" else []:
                emit(text)


def _warm_up(model: Model, test: Test, setting: Setting) -> None:
    """The first run plans and compiles; a GPU, which idled meanwhile, goes on until it has raised its clocks."""
    _run(model, test, setting)
    if not model.info.is_software:
        warm_up(lambda: _run(model, test, setting))


def _run(model: Model, test: Test, setting: Setting) -> int:
    model.engine.configure(setting.opt, setting.n_planned(model.info.is_software), setting.replay)
    return run(model.engine, test)


__all__ = ["Session", "Setting", "Wanted"]
