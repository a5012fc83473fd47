#!/usr/bin/env python3
"""How long `vkrun MODEL.gguf` takes to its first word, beside what reading the file takes.

    tools/reports/first_word.py MODEL.gguf [-r 3] [--backend vulkan]

A process each time, with caches of shaders warm after the first, which is not counted. Beside the clock's time stands
the processor's, of all threads and of the main one: on a machine that others use the clock says more than the program
takes. Linux alone, whose /proc says so.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path

CHUNK = 1 << 22


@dataclass(frozen=True)
class Taken:
    """Seconds from the process's start to the first byte on stdout: by the clock, of all threads, of the main one."""

    clock: float
    threads: float
    main: float


def reading_s(path: Path) -> float:
    """Seconds in which a plain loop reads the file."""
    start, room = time.perf_counter(), bytearray(CHUNK)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(room):
            pass
    return time.perf_counter() - start


def processor_s(folder: str) -> float:
    """User and system time of a process or thread, by its folder in /proc."""
    fields = Path(folder, "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_word(path: Path, prompt: str, backend: str) -> Taken:
    words = [str(path), "-p", prompt, "-n", "2", "--temp", "0", "-no-cnv", "--no-display-prompt", "--backend", backend]
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "vkrun", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        said = os.read(process.stdout.fileno(), 1)
        clock, own = time.perf_counter() - start, f"/proc/{process.pid}"
        taken = Taken(clock, processor_s(own), processor_s(f"{own}/task/{process.pid}"))
        process.communicate()
    if not said or process.returncode:
        sys.exit(f"vkrun said nothing, exit code {process.returncode}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", default="hello")
    parser.add_argument("--backend", default="vulkan")
    parser.add_argument("-r", "--runs", type=int, default=3)
    args = parser.parse_args()
    first_word(args.model, args.prompt, args.backend)
    print(f"| read, s | first word, s | processor, all threads | main thread |\n|{' ---: |' * 4}")
    for _ in range(args.runs):
        read, taken = reading_s(args.model), first_word(args.model, args.prompt, args.backend)
        print(f"| {' | '.join(f'{s:.2f}' for s in (read, *astuple(taken)))} |", flush=True)


if __name__ == "__main__":
    main()
