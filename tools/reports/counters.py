#!/usr/bin/env python3
"""What NVIDIA's hardware counters say of the kernels that take the most time in a step, as tables in Markdown.

    tools/reports/counters.py MODEL [--tokens 1,512] [--top 10] [--depth 500] [--csv FOLDER]

Runs itself under ncu, which needs the right to read counters (root, or NVreg_RestrictProfilingToAdminUsers=0). One step
a size, each kernel launched by itself; clocks are left as they are. A model of a few layers shows the kernels of a
large one of the same shape, in seconds. Columns: time by the counters; bytes of memory a second, and of the peak; hits
in the cache; resident warps, of the most; arithmetic and memory pipes, of their peak; registers; the three longest
stalls, in cycles that an instruction waits.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import vkrun
from vkrun.backends.cuda import api
from vkrun.backends.cuda.program import CudaProgram
from vkrun.runtime.bench.profile import kind_of

TIME, BYTES = "gpu__time_duration.sum", "dram__bytes.sum"
MEMORY, COMPUTE = (f"{unit}__throughput.avg.pct_of_peak_sustained_elapsed" for unit in ("dram", "sm"))
CACHE, OCCUPANCY = "lts__t_sector_hit_rate.pct", "sm__warps_active.avg.pct_of_peak_sustained_active"
REGISTERS = "launch__registers_per_thread"
STALLS = (
    *("long_scoreboard", "short_scoreboard", "barrier", "wait", "lg_throttle", "mio_throttle", "math_pipe_throttle"),
    *("not_selected", "no_instruction", "branch_resolving", "dispatch_stall", "drain", "membar", "imc_miss"),
)
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
METRICS = (TIME, BYTES, MEMORY, COMPUTE, CACHE, OCCUPANCY, REGISTERS, *map(STALL.format, STALLS))
UNITS = {"nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
UNITS |= {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
COLUMNS = ("kernel", "n", "us", "share", "GB/s", "of peak", "L2 hits", "warps", "arithmetic", "registers", "stalls")

Row = dict[str, float]


def inside(model: str, n_tokens: int, depth: int, listed: str) -> None:
    """A step behind `depth` tokens, again between the profiler's start and stop; its launches' nodes go to `listed`."""
    with vkrun.load(model, backend="cuda", n_ctx=depth + n_tokens) as loaded:
        engine = loaded.engine
        ids = np.random.default_rng(0).integers(0, engine.model.params.n_vocab, depth + n_tokens).tolist()
        if depth:
            engine.prompt(0, 0, ids[:depth])
        engine.prompt(0, depth, ids[depth:])
        ready = engine.last
        assert ready is not None and isinstance(ready.program, CudaProgram)
        kinds = [kind_of(ready.plan.nodes[i]) for i in ready.program.launched]
        Path(listed).write_text(json.dumps(kinds))
        api.call("cuProfilerStart")
        ready.program.run()
        api.call("cuProfilerStop")


def measured(model: str, n_tokens: int, depth: int, folder: str) -> tuple[list[str], list[Row]]:
    """The kinds of a step's launches, and their counters."""
    listed, table = (os.path.join(folder, f"{n_tokens}.{kind}") for kind in ("json", "csv"))
    own = [sys.executable, os.path.abspath(__file__), model, "--inside", listed, "--tokens", str(n_tokens)]
    ncu = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw"]
    command = [*ncu, "--metrics", ",".join(METRICS), "--log-file", table, *own, "--depth", str(depth)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "VKRUN_NO_CUDA_GRAPH": "1"})
    rows = list(parsed(Path(table).read_text())) if done.returncode == 0 else []
    kinds = json.loads(Path(listed).read_text()) if rows else []
    if not rows or len(kinds) != len(rows):
        said = (done.stdout + done.stderr + Path(table).read_text()).strip().splitlines()
        raise SystemExit(f"ncu: {len(rows)} kernels of {len(kinds)}: " + "\n".join(said[-5:]))
    return kinds, rows


def parsed(text: str) -> list[Row]:
    """Of ncu's raw page: a row of names, one of units, then one a kernel. Seconds, bytes, percent, cycles."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    names, units, *rows = csv.reader(lines)
    scale = [UNITS.get(unit, 1.0) for unit in units]
    wanted = [i for i, name in enumerate(names) if name in METRICS]
    return [{names[i]: _number(row[i]) * scale[i] for i in wanted} for row in rows]


def _number(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return 0.0


def table(kinds: list[str], rows: list[Row], top: int) -> list[str]:
    """Markdown. Averages over the launches of a kind are by their time."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for kind, row in zip(kinds, rows, strict=True):
        groups[kind].append(row)
    whole = sum(row[TIME] for row in rows)
    longest = sorted(groups.items(), key=lambda item: -sum(row[TIME] for row in item[1]))[:top]
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 2), "---")]
    lines += [_cells(kind, group, whole) for kind, group in longest]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _cells(kind: str, rows: list[Row], whole: float) -> tuple[str, ...]:
    seconds = sum(row[TIME] for row in rows)

    def average(name: str) -> float:
        return sum(row.get(name, 0.0) * row[TIME] for row in rows) / max(seconds, 1e-12)

    worst = sorted(STALLS, key=lambda stall: -average(STALL.format(stall)))[:3]
    stalls = ", ".join(f"{stall.replace('_', ' ')} {average(STALL.format(stall)):.1f}" for stall in worst)
    percents = [f"{average(name):.0f}%" for name in (MEMORY, CACHE, OCCUPANCY, COMPUTE)]
    rate = sum(row[BYTES] for row in rows) / max(seconds, 1e-12) / 1e9
    figures = f"{seconds / len(rows) * 1e6:.1f}", f"{100 * seconds / whole:.1f}%", f"{rate:.0f}"
    return (kind, str(len(rows)), *figures, *percents, f"{average(REGISTERS):.0f}", stalls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", default="1,512", help="of a step, for several steps")
    parser.add_argument("--depth", type=int, default=500, help="tokens before the step of one token")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--csv", help="folder in which what ncu wrote stays")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args.model, int(args.tokens), args.depth, args.inside)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for n_tokens in map(int, args.tokens.split(",")):
            depth = args.depth if n_tokens == 1 else 0
            kinds, rows = measured(args.model, n_tokens, depth, args.csv or scratch)
            whole = sum(row[TIME] for row in rows) * 1e3
            print(f"\n{n_tokens} tokens behind {depth}: {len(rows)} kernels, {whole:.3f} ms\n")
            print("\n".join(table(kinds, rows, args.top)), flush=True)


if __name__ == "__main__":
    main()
