"""What a benchmark prints: llama-bench's rows as md, csv, json or jsonl, and the ladder of levels as a table."""

import csv
import io
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from ..gguf_describe import size_text
from ..model import ModelInfo
from .measure import Measured, deviation

MIB = 1 << 20


def fields(info: ModelInfo, opt: int, n_batch: int, n_ubatch: int, measured: Measured) -> dict[str, object]:
    """One measured test under llama-bench's field names, plus `opt` and `n_seqs`. Times in ns, rates in tokens/s."""
    ns = [float(n) for n in measured.samples_ns]
    return {
        "build_commit": "vkrun",
        "build_number": 0,
        "cpu_info": platform.processor() or platform.machine(),
        "gpu_info": "" if info.backend == "cpu" else info.device,
        "backends": backend_name(info.backend),
        "model_filename": os.path.basename(info.path),
        "model_type": info.kind,
        "model_size": info.nbytes,
        "model_n_params": info.n_params,
        "n_batch": n_batch,
        "n_ubatch": n_ubatch,
        "n_gpu_layers": 99,
        "n_prompt": measured.test.n_prompt,
        "n_gen": measured.test.n_gen,
        "n_depth": measured.test.n_depth,
        "n_seqs": measured.test.n_seqs,
        "opt": opt,
        "driver": info.driver,
        "test_time": measured.started,
        "avg_ns": round(fmean(ns)),
        "stddev_ns": round(deviation(ns)),
        "avg_ts": measured.avg_ts,
        "stddev_ts": measured.stddev_ts,
        "samples_ns": measured.samples_ns,
        "samples_ts": measured.samples_ts,
    }


def backend_name(name: str) -> str:
    """As llama-bench writes it."""
    return {"vulkan": "Vulkan", "cpu": "CPU", "kompute": "Kompute"}.get(name, name)


Row = dict[str, object]
Emit = Callable[[str], None]


class Markdown:
    """llama-bench's table, a row as soon as it is measured."""

    COLUMNS = (("model", 30, False), ("size", 10, True), ("params", 10, True), ("backend", 10, False), ("ngl", 3, True))
    LAST = (("test", 15, True), ("t/s", 20, True))

    def __init__(self, emit: Emit, with_opt: bool) -> None:
        self._emit = emit
        self._columns = (*self.COLUMNS, *([("opt", 3, True)] if with_opt else []), *self.LAST)

    def start(self) -> None:
        self._emit(line(name.rjust(n) if right else name.ljust(n) for name, n, right in self._columns))
        self._emit(line("-" * (n - 1) + (":" if right else "-") for _, n, right in self._columns))

    def row(self, made: Row, name: str) -> None:
        texts = {
            "model": str(made["model_type"]),
            "size": size_text(int(str(made["model_size"]))),
            "params": params_text(int(str(made["model_n_params"]))),
            "backend": str(made["backends"]),
            "ngl": "99",
            "opt": str(made["opt"]),
            "test": name,
            "t/s": f"{made['avg_ts']:.2f} ± {made['stddev_ts']:.2f}",
        }
        cells = (texts[c].rjust(n) if right else texts[c].ljust(n) for c, n, right in self._columns)
        self._emit(line(cells))

    def end(self) -> None:
        """The table needs no end."""


class Csv:
    """A header, then a line a test; list fields are left out, as llama-bench does."""

    def __init__(self, emit: Emit) -> None:
        self._emit, self._started = emit, False

    def start(self) -> None:
        """The header comes with the first row, which knows the fields."""

    def row(self, made: Row, _name: str) -> None:
        flat = {k: v for k, v in made.items() if not isinstance(v, list)}
        rows = [flat.values()] if self._started else [flat.keys(), flat.values()]
        self._started = True
        for values in rows:
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
            self._emit(text.getvalue())

    def end(self) -> None:
        """The file needs no end."""


class JsonLines:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def start(self) -> None:
        """A line needs no start."""

    def row(self, made: Row, _name: str) -> None:
        self._emit(json.dumps(made))

    def end(self) -> None:
        """A line needs no end."""


class Json(JsonLines):
    """One array of all rows."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit)
        self._rows: list[Row] = []

    def row(self, made: Row, _name: str) -> None:
        self._rows.append(made)

    def end(self) -> None:
        self._emit(json.dumps(self._rows, indent=2))


def ladder(rows: Sequence[tuple[str, int, Measured]]) -> list[str]:
    """Lines of a table: a row a test, a column a level, and the last level's speed-up against the first."""
    levels = list(dict.fromkeys(level for _, level, _ in rows))
    rates = {(name, level): m.avg_ts for name, level, m in rows}
    lines = [line(["test".rjust(15), *(f"opt {n}, t/s".rjust(12) for n in levels), "speed-up".rjust(8)])]
    lines.append(line(["-" * 14 + ":", *("-" * 11 + ":" for _ in levels), "-" * 7 + ":"]))
    for name in dict.fromkeys(name for name, _, _ in rows):
        cells = [f"{rates[name, n]:12.2f}" for n in levels]
        lines.append(line([name.rjust(15), *cells, f"{rates[name, levels[-1]] / rates[name, levels[0]]:8.2f}"]))
    return lines


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def params_text(n: int) -> str:
    """12.34 B or 12.34 M, as llama-bench writes it."""
    return f"{n / 1e9:.2f} B" if n >= 1e9 else f"{n / 1e6:.2f} M"
