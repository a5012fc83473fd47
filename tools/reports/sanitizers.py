#!/usr/bin/env python3
"""Runs the op table and the bundled model through cuda under each tool of NVIDIA's compute-sanitizer.

    tools/reports/sanitizers.py [--tools memcheck,racecheck,initcheck,synccheck] [--every 8] [--tokens 20]

    for i in $(seq 0 15); do tools/reports/sanitizers.py --only table --every 16 --first $i & done    # all of the table

Each tool first has to find a fault that is planted for it. Each tensor has memory of its own (VKRUN_VALIDATE=1): so
memcheck sees a step beyond its end. The table is a sample, one case of `--every` from `--first` on; the exit code
counts what was found where nothing should be, and planted faults that were not.
"""

import argparse
import os
import re
import subprocess
import sys
import time

import numpy as np
import vkrun
from vkrun.backends import registry
from vkrun.backends.base import Device
from vkrun.backends.cuda import kernels
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import cases_for

# what to put over the prelude so that every kernel has the fault that a tool looks for
FAULTS = {
    "memcheck": "#undef VK_STORE\n#define VK_STORE(x, i) x[(i) + 4096]\n",
    "racecheck": "#undef barrier\n#define barrier()\n",
    "initcheck": "#undef VK_STORE\n__device__ float vk_nowhere[64];\n#define VK_STORE(x, i) vk_nowhere[(i) & 63u]\n",
    "synccheck": "#undef barrier\n#define barrier() if (threadIdx.x < 8u) __syncthreads()\n",
}
FOUND = 86  # the exit code of a run in which the tool found something
_TOTAL = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)")


def table(device: Device, every: int, first: int) -> str:
    outcomes = [run_case(case, device) for case in cases_for(False, None)[first::every]]
    wrong = [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status == "fail"]
    return "; ".join([f"{len(outcomes)} cases", *wrong])


def text(_device: Device, n_tokens: int, _first: int) -> str:
    with vkrun.load(vkrun.BUNDLED, backend="cuda", n_ctx=256) as model:
        return repr("".join(model.generate("def f(n):", max_tokens=n_tokens, temperature=0)))


def planted(device: Device, _n: int, _first: int) -> str:
    """Sums of rows, twice: with shared memory, barriers, and a temporary that one kernel hands to the next."""
    x = Storage("x", Kind.STATE, DType.F32, (8, 4096))
    graph = Graph()
    (half,) = graph.emit("softmax", x.tensor(), scale=1.0)
    graph.output("y", *graph.emit("softmax", half, scale=1.0))
    device.alloc([x])
    device.write(x, np.ones(x.shape, np.float32))
    device.compile(make_plan(graph)).run()
    return "ran"


PARTS = {"planted": planted, "table": table, "text": text}


def inside(part: str, n: int, first: int, fault: str) -> None:
    """What a child does under a tool."""
    if fault:
        whole = kernels.KernelKey.source
        begin = '#include "cuda.h"\n'

        def source(self: kernels.KernelKey) -> str:
            return whole(self).replace(begin, begin + FAULTS[fault])

        kernels.KernelKey.source = source
    backend, info = registry.choose("cuda", None)
    device = backend.open(info)
    print(PARTS[part](device, n, first))
    device.close()


def under(tool: str, part: str, n: int, first: int, fault: str, seconds: float) -> tuple[int, str]:
    """Errors that a tool found in a part (-1: it came to no end), and what there is to say of it."""
    own = [sys.executable, os.path.abspath(__file__), "--inside", part, "-n", str(n), "--first", str(first)]
    own += ["--fault", fault]
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(FOUND), *own]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env={**os.environ, "VKRUN_VALIDATE": "1"}
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {seconds:.0f} s"
    lines = [line for line in done.stdout.splitlines() if not line.startswith("=====")]
    totals = [int(n) for n in _TOTAL.findall(done.stdout)]
    if done.returncode not in (0, FOUND) and not fault:
        return -1, f"exit code {done.returncode}: {(done.stderr.splitlines() or lines or ['nothing'])[-1]}"
    told = next((line for line in done.stdout.splitlines() if "========= " in line and "COMPUTE" not in line), "")
    said = told if sum(totals) else (lines or [""])[-1]
    return sum(totals), f"{said:.150} ({time.perf_counter() - start:.1f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default=",".join(FAULTS))
    parser.add_argument("--only", default=",".join(PARTS), help="parts, in order")
    parser.add_argument("--every", type=int, default=8, help="of so many cases of the table one is run")
    parser.add_argument("--first", type=int, default=0, help="the first of these cases")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300, help="that a part may take under a tool")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("-n", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--fault", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args.inside, args.n, args.first, args.fault)
        return
    numbers, bad = {"planted": 0, "table": args.every, "text": args.tokens}, 0
    for tool in args.tools.split(","):
        for part in args.only.split(","):
            fault = tool if part == "planted" else ""
            found, said = under(tool, part, numbers[part], args.first, fault, args.seconds)
            is_right = found > 0 if fault else found == 0
            bad += not is_right
            print(f"{'ok ' if is_right else 'BAD'} {tool:9} {part:7} {found} errors  {said}", flush=True)
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
