"""What a benchmark prints: llama-bench's rows as md, csv, json or jsonl, and the ladder of levels as a table."""

import csv
import io
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Protocol

from ..model import ModelInfo
from .measure import Measured, Test, deviation
from .settings import Setting

Row = dict[str, object]
Emit = Callable[[str], None]


def fields(info: ModelInfo, setting: Setting, version: str, measured: Measured) -> Row:
    """One measured test under llama-bench's field names, plus opt, replay, n_seqs and driver. Times in ns, rates in
    tokens/s. Its fields for what vkrun does not vary hold what vkrun does."""
    return {
        "build_commit": f"vkrun {version}",
        "build_number": 0,
        "cpu_info": platform.processor() or platform.machine(),
        "gpu_info": "" if info.backend == "cpu" else info.device,
        "backends": backend_name(info.backend),
        **_model_fields(info),
        **_setting_fields(info, setting),
        "devices": info.device,
        "driver": info.driver,
        "opt": setting.opt,
        "replay": setting.replay,
        **_test_fields(measured),
    }


def _model_fields(info: ModelInfo) -> Row:
    return {
        "model_filename": info.path,
        "model_type": info.kind,
        "model_size": info.nbytes,
        "model_n_params": info.n_params,
    }


def _setting_fields(info: ModelInfo, setting: Setting) -> Row:
    return {
        "n_batch": setting.n_batch,
        "n_ubatch": setting.n_planned(info.is_software),
        "type_k": info.cache_types[0],
        "type_v": info.cache_types[1],
        "n_gpu_layers": 0 if info.backend == "cpu" else 99,
        "split_mode": "none",
        "main_gpu": 0,
        "no_kv_offload": False,
        "flash_attn": setting.opt >= 2,
        "use_mmap": False,
        "embeddings": False,
    }


def _test_fields(measured: Measured) -> Row:
    ns = [float(n) for n in measured.samples_ns]
    return {
        "n_seqs": measured.test.n_seqs,
        "n_prompt": measured.test.n_prompt,
        "n_gen": measured.test.n_gen,
        "n_depth": measured.test.n_depth,
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


class Printer(Protocol):
    """A format, row by row as soon as each is measured."""

    def start(self) -> None: ...

    def row(self, made: Row, name: str) -> None: ...

    def end(self) -> None: ...


# column -> its field, width, and whether it stands flush right, as llama-bench has them
_COLUMNS = {
    "model": ("model_type", 30, False),
    "size": ("model_size", 10, True),
    "params": ("model_n_params", 10, True),
    "backend": ("backends", 10, False),
    "ngl": ("n_gpu_layers", 3, True),
    "n_batch": ("n_batch", 7, True),
    "n_ubatch": ("n_ubatch", 8, True),
    "type_k": ("type_k", 6, True),
    "type_v": ("type_v", 6, True),
    "opt": ("opt", 3, True),
    "replay": ("replay", 6, True),
    "test": ("", 15, True),
    "t/s": ("", 20, True),
}
VARIED = (
    "n_batch",
    "n_ubatch",
    "type_k",
    "type_v",
    "opt",
    "replay",
)  # columns that are there only when a run varies them


class Markdown:
    """llama-bench's table; `varied` are the columns of VARIED to show."""

    def __init__(self, emit: Emit, varied: Sequence[str]) -> None:
        self._emit = emit
        self._columns = [c for c in _COLUMNS if c not in VARIED or c in varied]

    def start(self) -> None:
        self._emit(line(self._cell(c, c) for c in self._columns))
        marks = ((n, right) for _, n, right in (_COLUMNS[c] for c in self._columns))
        self._emit(line("-" * (n - 1) + (":" if right else "-") for n, right in marks))

    def row(self, made: Row, name: str) -> None:
        texts = {
            "size": size_text(int(str(made["model_size"]))),
            "params": params_text(int(str(made["model_n_params"]))),
            "replay": "yes" if made["replay"] else "no",
            "test": name,
            "t/s": f"{made['avg_ts']:.2f} ± {made['stddev_ts']:.2f}",
        }
        self._emit(line(self._cell(c, texts[c] if c in texts else str(made[_COLUMNS[c][0]])) for c in self._columns))

    def end(self) -> None:
        """The table needs no end."""

    def _cell(self, column: str, text: str) -> str:
        _, width, right = _COLUMNS[column]
        return text.rjust(width) if right else text.ljust(width)


class Csv:
    """A header, then a line a test; lists and objects are left out, as llama-bench does."""

    def __init__(self, emit: Emit) -> None:
        self._emit, self._started = emit, False

    def start(self) -> None:
        """The header comes with the first row, which knows the fields."""

    def row(self, made: Row, name: str) -> None:
        flat = {k: int(v) if isinstance(v, bool) else v for k, v in made.items() if not isinstance(v, list | Mapping)}
        if not self._started:
            self._emit(",".join(flat))
        self._started = True
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow(flat.values())
        self._emit(text.getvalue())

    def end(self) -> None:
        """The file needs no end."""


class JsonLines:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def start(self) -> None:
        """A line needs no start."""

    def row(self, made: Row, name: str) -> None:
        self._emit(json.dumps(made))

    def end(self) -> None:
        """A line needs no end."""


class Json:
    """One array of all rows, whole even where the run is broken off."""

    def __init__(self, emit: Emit) -> None:
        self._emit, self._last = emit, ""

    def start(self) -> None:
        self._emit("[")

    def row(self, made: Row, name: str) -> None:
        if self._last:
            self._emit(self._last + ",")
        self._last = "\n".join(f"  {text}" for text in json.dumps(made, indent=2).splitlines())

    def end(self) -> None:
        if self._last:
            self._emit(self._last)
        self._emit("]")


def printer(name: str, emit: Emit, varied: Sequence[str]) -> Printer:
    """By the name of a format: md, csv, json or jsonl."""
    if name == "md":
        return Markdown(emit, varied)
    return {"csv": Csv, "json": Json, "jsonl": JsonLines}[name](emit)


Done = tuple[Test, Setting, Measured]


def ladder(done: Sequence[Done]) -> list[str]:
    """Lines of a table: a row a test, a column a level, and the last level's speed-up against the first."""
    replayed = [(_name(test, s), s.opt, m.avg_ts) for test, s, m in done if s.replay]
    levels = list(dict.fromkeys(opt for _, opt, _ in replayed))
    rates = {(name, opt): rate for name, opt, rate in replayed}
    return _table(rates, levels, [f"opt {n}, t/s" for n in levels], f"{levels[-1]} / {levels[0]}")


def replay_table(done: Sequence[Done]) -> list[str]:
    """Lines of a table: each test with its plan made anew at every step, and replayed."""
    rates = {(f"{_name(test, s)}, opt {s.opt}", int(s.replay)): m.avg_ts for test, s, m in done}
    return _table(rates, [0, 1], ["anew, t/s", "replayed, t/s"], "replay")


def _name(test: Test, setting: Setting) -> str:
    """Tests at other batch sizes are other rows."""
    size = "" if setting.is_default_size else f", b{setting.n_batch} ub{setting.n_ubatch}"
    return test.name + size


def _table(rates: Mapping[tuple[str, int], float], keys: Sequence[int], titles: Sequence[str], last: str) -> list[str]:
    names = list(dict.fromkeys(name for name, _ in rates))
    width = max(15, *map(len, names))
    lines = [line(["test".rjust(width), *(t.rjust(13) for t in titles), last.rjust(8)])]
    lines.append(line(["-" * (width - 1) + ":", *("-" * 12 + ":" for _ in titles), "-" * 7 + ":"]))
    for name in names:
        row = [rates[name, key] for key in keys]
        lines.append(line([name.rjust(width), *(f"{rate:13.2f}" for rate in row), f"{row[-1] / row[0]:8.2f}"]))
    return lines


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def size_text(nbytes: int) -> str:
    """12.34 MiB or 12.34 GiB, as llama-bench writes it."""
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.2f} MiB"


def params_text(n: int) -> str:
    """12.34 B or 12.34 M, as llama-bench writes it."""
    return f"{n / 1e9:.2f} B" if n >= 1e9 else f"{n / 1e6:.2f} M"
