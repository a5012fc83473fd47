#!/usr/bin/env python3
"""Measures vkrun and llama.cpp in turns on one file, A B A B, and prints one table: medians, spread, ratios.

    tools/compare.py -m MODEL.gguf --peer llama-bench [-p 512,2048] [-n 128] [-d 0] [--parallel 1] [-r 3] [--rounds 2]
    tools/compare.py -m MODEL.gguf --peer "CUDA=llama-bench -dev CUDA0" --peer "Vulkan=llama-bench -dev Vulkan0"
    tools/compare.py -m MODEL.gguf --vkrun "V=vkrun bench --backend vulkan" --vkrun "C=vkrun bench --backend cuda"

A command gets llama-bench's options (-m, -p, -n, -d, -r, -o jsonl, and --parallel for several sequences) and prints its
rows, or one JSON object of tokens a second by test name, {"pp512": 1234.5, "tg32 x8": 99.0}. Every command runs once a
round, the rounds one after the other, so that what else the machine does falls on all alike. Ratios are to the best of
the peer's commands.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

NAME = re.compile(r"^(pp|tg)\d")


@dataclass
class Side:
    """One command: samples in tokens a second by test, and what its rows say of itself."""

    name: str
    command: list[str]
    is_ours: bool
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    about: str = ""

    def median(self, test: str) -> float | None:
        return median(self.samples[test]) if self.samples.get(test) else None

    def take(self, output: str) -> None:
        """Rows as llama-bench prints them, or an object of rates by name, anywhere among other lines."""
        for text in output.splitlines():
            if text.startswith("{"):
                self._take_row(json.loads(text))

    def _take_row(self, row: dict) -> None:
        if "samples_ts" in row:
            self.samples[name_of(row)] += row["samples_ts"]
            device = row.get("devices") or row.get("gpu_info") or row.get("cpu_info", "")
            self.about = ", ".join(str(x) for x in (row.get("build_commit"), device, row.get("driver")) if x)
        for name, rate in row.items():
            if NAME.match(name) and isinstance(rate, int | float):
                self.samples[name].append(float(rate))


def name_of(row: dict) -> str:
    """pp512, tg128, tg32 @ d16384, tg32 x8: as `vkrun bench` names tests."""
    parts = [f"{kind}{row[key]}" for kind, key in (("pp", "n_prompt"), ("tg", "n_gen")) if row.get(key)]
    depth, n_seqs = row.get("n_depth") or 0, row.get("n_seqs") or 1
    return "+".join(parts) + (f" @ d{depth}" if depth else "") + (f" x{n_seqs}" if n_seqs > 1 else "")


def table(sides: Sequence[Side]) -> list[str]:
    """A row a test: the median of each side with its spread, and each of ours over the best of theirs."""
    tests = list(dict.fromkeys(test for side in sides for test in side.samples))
    ours, theirs = ([s for s in sides if s.is_ours is own] for own in (True, False))
    ratios = [f"{s.name} / best" for s in ours] if theirs else []
    rows = [["test", *(s.name for s in sides), *ratios]]
    for test in tests:
        best = max((m for s in theirs if (m := s.median(test))), default=None)
        compared = [_ratio(s.median(test), best) for s in ours] if theirs else []
        rows.append([test, *(_cell(s, test) for s in sides), *compared])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(cell.rjust(n) for cell, n in zip(row, widths, strict=True)) for row in rows]
    return [lines[0], _line("-" * (n - 1) + ":" for n in widths), *lines[1:]]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(side: Side, test: str) -> str:
    """The median, and how far the samples are from it at most, in percent."""
    if not side.samples.get(test):
        return "not run"
    middle, samples = median(side.samples[test]), side.samples[test]
    off = max(abs(x - middle) for x in samples) / middle * 100
    return f"{middle:,.1f} ± {off:.1f}%"


def _ratio(own: float | None, best: float | None) -> str:
    return f"{own / best:.2f}" if own and best else ""


def run(side: Side, options: Sequence[str], timeout_s: float) -> str:
    """Empty, or why there are no figures, in a line."""
    try:
        done = subprocess.run([*side.command, *options], capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{side.name}: {error}"
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"{side.name}: exit code {done.returncode}: {said[-1]}"
    side.take(done.stdout)
    return ""


def options_of(args: argparse.Namespace) -> list[str]:
    options = ["-m", args.model, "-p", args.p, "-n", args.n, "-r", str(args.r), *args.more]
    options += ["-d", args.d] if args.d != "0" else []
    return options + (["--parallel", args.parallel] if args.parallel != "1" else [])


def sides_of(texts: Sequence[str], is_ours: bool, default: str) -> list[Side]:
    """`NAME=COMMAND`, or a command alone, which the side is then named after."""
    made = []
    for text in texts:
        name, command = text.split("=", 1) if re.match(r"^[\w.+-]+=", text) else (default, text)
        made.append(Side(name, shlex.split(command), is_ours))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--vkrun", action="append", metavar="[NAME=]COMMAND", help="[default: python -m vkrun bench]")
    parser.add_argument("--peer", action="append", default=[], metavar="[NAME=]COMMAND")
    parser.add_argument("-p", default="512,2048", help="prompt lengths")
    parser.add_argument("-n", default="128", help="generated tokens")
    parser.add_argument("-d", default="0", help="tokens in the context before")
    parser.add_argument("--parallel", default="1", help="sequences side by side")
    parser.add_argument("-r", type=int, default=3, help="runs of a test in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a command may take")
    args = parser.parse_args()
    args.more = ["-o", "jsonl"]
    own = args.vkrun or [f"{shlex.quote(sys.executable)} -m vkrun bench"]
    sides = [*sides_of(own, True, "vkrun"), *sides_of(args.peer, False, "llama.cpp")]
    for i in range(args.rounds):
        for side in sides:
            print(f"round {i + 1}/{args.rounds}: {side.name}", file=sys.stderr, flush=True)
            if why := run(side, options_of(args), args.timeout):
                print(why, file=sys.stderr)
    print("\n".join(table(sides)))
    print("".join(f"\n{side.name}: {side.about}" for side in sides if side.about))


if __name__ == "__main__":
    main()
