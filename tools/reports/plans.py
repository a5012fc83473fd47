#!/usr/bin/env python3
"""What planning sizes of steps takes, in this process and in one beside, and what it does to steps meanwhile.

    tools/reports/plans.py [PRESET] [--type Q4_0] [--seconds 5]

PRESET is one of tools/presets.py, by default the 80B shape; no file and no device is needed. The first table: seconds
of this process for a plan made and lowered here, and for one that comes so from a planner (runtime/engine/planner.py),
in which time. The second: a step of 2 ms on a device, which wants 0.5 ms of Python, over and over, alone and while
plans are made by a thread here or by a planner: its times in ms, and plans made a second.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from vkrun.backends.base import Rules
from vkrun.backends.lowered import lower
from vkrun.runtime.counts import USUAL_GPU
from vkrun.runtime.engine.ahead import TURN
from vkrun.runtime.engine.planner import Planner, prepare, uncollected
from vkrun.runtime.models import Architecture, Capacity
from vkrun.runtime.models.step import StepShape
from vkrun.shaders.catalogue import refusal
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import model_of

USUAL = Rules(partial(refusal, features=USUAL_GPU), partial(lower, features=USUAL_GPU))
GROUPS = (((1, 1),), ((8, 1),), ((32, 1),), ((1, 512),), ((1, 512), (8, 1)))
DEVICE, PYTHON = 0.002, 0.0005  # seconds of a step
Make = Callable[[StepShape], object]


def shape_of(model: Architecture, groups: tuple[tuple[int, int], ...]) -> StepShape:
    snapshots = bool(model.states) and any(n > 1 for _, n in groups)
    return StepShape(groups, 1024, sum(n for n, _ in groups), 64, snapshots=snapshots)


def seconds(make: Make, shape: StepShape) -> tuple[float, float]:
    """By the clock, and of this thread's processor: the best of three."""
    taken = []
    for _ in range(3):
        start, own = time.perf_counter(), time.thread_time()
        make(shape)
        taken.append((time.perf_counter() - start, time.thread_time() - own))
    return min(taken)


def steps(limit: float) -> list[float]:
    """What steps take in a row, for so many seconds."""
    taken, until = [], time.perf_counter() + limit
    while (start := time.perf_counter()) < until:
        time.sleep(DEVICE)
        busy = time.thread_time() + PYTHON
        while time.thread_time() < busy:
            pass
        taken.append(time.perf_counter() - start)
    return taken


def beside(make: Make | None, shapes: list[StepShape], limit: float) -> tuple[list[float], float]:
    """Steps while a thread makes plans, and those plans a second."""
    n, over = 0, threading.Event()

    def plans() -> None:
        nonlocal n
        while make and not over.is_set():
            make(shapes[n % len(shapes)])
            n += 1

    thread = threading.Thread(target=plans)
    thread.start()
    try:
        return steps(limit), n / limit
    finally:
        over.set()
        thread.join()


def costs(shapes: list[StepShape], here: Make, there: Make) -> None:
    """The first table."""
    print(f"| groups | here, s | of a planner: this process, s | by the clock |\n|{' --- |' * 4}")
    there(shapes[0])
    for shape in shapes:
        (_, own), (clock, taken) = seconds(here, shape), seconds(there, shape)
        print(f"| {list(shape.groups)} | {own:.3f} | {taken:.3f} | {clock:.3f} |", flush=True)


def gaps(shapes: list[StepShape], here: Make, there: Make, limit: float) -> None:
    """The second."""
    print(f"\n| plans are made | step, ms, median | 90th of 100 | steps a second | plans a second |\n|{' --- |' * 5}")
    for name, make in (("nowhere", None), ("here", here), ("by a planner", there)):
        taken, rate = beside(make, shapes, limit)
        ms = sorted(1e3 * t for t in taken)
        late, n = ms[9 * len(ms) // 10], len(ms) / limit
        print(f"| {name} | {median(ms):.2f} | {late:.2f} | {n:.0f} | {rate:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="qwen3-next-80b-a3b", choices=PRESETS)
    parser.add_argument("--type", default="Q4_0")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    sys.setswitchinterval(TURN)  # as where plans are made ahead
    model, turn = model_of(PRESETS[args.preset], args.type, 0, Capacity(8192, 33, 65)), threading.Lock()
    planner = Planner(model)

    def here(shape: StepShape) -> object:
        with uncollected():
            made = prepare(model, shape, 3, USUAL.supports, None)
            return made, USUAL.lower(made.plan)

    def there(shape: StepShape) -> object:
        return planner.prepare(shape, 3, USUAL, turn)

    shapes = [shape_of(model, groups) for groups in GROUPS]
    costs(shapes, here, there)
    gaps(shapes, here, there, args.seconds)
    planner.close()


if __name__ == "__main__":
    main()
