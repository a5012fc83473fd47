#!/usr/bin/env python3
"""Checks and times vkrun on this machine's device in one go: for a GPU that is at hand for minutes only.

    tools/reports/gpu.py [--backend vulkan] [--out DIR] [--only devices,table,switches,golden,text,speed]

    for i in $(seq 0 15); do tools/reports/gpu.py --only table,switches --every 16 --first $i & done    # side by side

Devices, the op table, its cases again whose kernels are others with a feature switched off (where named), the golden
models at every level, greedy text of the bundled model, and tokens a second at each level with the time of each kind
of node. A part that fails does not stop the next; the exit code counts them.
"""

import argparse
import json
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import vkrun
from vkrun.backends import registry
from vkrun.backends.base import Device
from vkrun.runtime.bench.measure import Measured, Test, run
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.models.step import StepShape
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import planned, prepare_for, run_case
from vkrun.runtime.optable.table import cases_for
from vkrun.tests.exact import load_exact

GOLDEN = Path(vkrun.__file__).parent / "tests" / "models" / "golden"
LEVELS = (0, 1, 2, 3)
FEATURES = ("SUBGROUP", "FP16", "INT_DOT", "COOPMAT", "WARPGROUPS", "DELTA_CHUNKS")  # by which kernels are chosen
FORMS = {"vulkan": ("DENORMALS", "ADDRESSES")}  # by which a backend's kernels are built, all of them


def devices(_args: argparse.Namespace) -> list[dict]:
    return [vars(info) | {"features": dict(info.features)} for info in registry.devices()]


def table(args: argparse.Namespace) -> dict:
    """Each op as one node (None) and at every level: counts, and every case that did not pass."""
    with _opened(args) as device:
        return {f"opt {level}": _table(device, _cases(args, device, level), level) for level in (None, *args.levels)}


def switches(args: argparse.Namespace) -> dict:
    """As table(), each op as one node, with one feature off: the cases that other kernels compute then, or all."""
    with _opened(args) as device:
        cases = _cases(args, device, None)
        usual = [_kernels(case, device) for case in cases]
    figures, forms = {}, FORMS.get(args.backend, ())
    for name in (*FEATURES, *forms):
        with _opened(args, name) as device:
            others = [c for c, own in zip(cases, usual, strict=True) if name in forms or _kernels(c, device) != own]
            figures[f"without {name}"] = _table(device, others, None)
    return figures


@contextmanager
def _opened(args: argparse.Namespace, off: str = "") -> Iterator[Device]:
    """The device, with the feature of a name of config.SWITCHES off."""
    with patch.dict(os.environ, {f"VKRUN_NO_{off}": "1"} if off else {}):
        backend, info = registry.choose(args.backend, None)
        device = backend.open(info)
        try:
            yield device
        finally:
            device.close()


def _cases(args: argparse.Namespace, device: Device, level: int | None) -> tuple[Case, ...]:
    return cases_for(device.info.is_software, level)[args.first :: args.every]


def _kernels(case: Case, device: Device) -> str:
    """What tells apart the kernels that a device computes a case by, as one node or, where it has none, in parts."""
    setting = prepare_for(case, device)
    try:
        return repr(device.kernels(planned(setting, device, 3 if device.supports(setting.node) else None)))
    except VkrunError as error:
        return str(error)


def _table(device: Device, cases: Sequence[Case], level: int | None) -> dict:
    outcomes = [run_case(case, device, level) for case in cases]
    wrong = [f"{o.case.op} {o.case.what}: {o.status} {o.why}" for o in outcomes if o.status == "fail"]
    refused = [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status == "refused"]
    passed = [o for o in outcomes if o.status == "pass"]
    worst = max(passed, key=lambda o: o.nmse / max(o.case.nmse, 1e-300), default=None)
    return {
        "cases": len(outcomes),
        "wrong": wrong,
        "refused": refused,
        "worst": worst and f"{worst.case.op} {worst.case.what} {worst.nmse:.1e}",
    }


def golden(args: argparse.Namespace) -> dict:
    """NMSE of each golden model at each level: one shot, and chunks of 7 and single tokens against one shot."""
    figures = {}
    for path in sorted(GOLDEN.glob("*.gguf")):
        stored = np.load(path.with_suffix(".npz"))
        for level in LEVELS:
            with load_exact(path, backend=args.backend, n_ctx=256, opt=level) as model:
                ids = stored["ids"].tolist()
                got = model.logits(ids)
                cuts = [_nmse(_in_chunks(model, ids, n), got) for n in (7, 1)]
                figures[f"{path.stem} opt {level}"] = [f"{x:.1e}" for x in (_nmse(got, stored["logits"]), *cuts)]
    return figures


def _in_chunks(model: vkrun.Model, ids: list[int], n: int) -> np.ndarray:
    model.engine.reset(0)
    return np.concatenate([model.engine.prompt(0, at, ids[at : at + n], every=True) for at in range(0, len(ids), n)])


def _nmse(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(((got.astype(np.float64) - wanted) ** 2).sum() / (wanted.astype(np.float64) ** 2).sum())


def text(args: argparse.Namespace) -> dict:
    with vkrun.load(vkrun.BUNDLED, backend=args.backend) as model:
        start = time.perf_counter()
        made = "".join(model.generate("def fibonacci(n):", max_tokens=64, temperature=0))
        return {
            "device": model.info.device,
            "driver": model.info.driver,
            "text": made,
            "s": time.perf_counter() - start,
        }


def speed(args: argparse.Namespace) -> dict:
    """Tokens a second of prompts and generation at each level, and where the time of the leanest goes."""
    figures: dict = {}
    for level in LEVELS:
        with vkrun.load(args.model, backend=args.backend, opt=level, n_ctx=2048, n_seqs=8) as model:
            tests = (Test(0, 32), Test(1, 0), Test(8, 0), Test(512, 0), Test(0, 32, n_seqs=8))
            for test in tests:
                run(model.engine, test)  # the first one plans and compiles
                measured = Measured(test, [run(model.engine, test) for _ in range(3)])
                figures[f"{test.name} opt {level}"] = round(max(measured.samples_ts), 1)
            if level == LEVELS[-1]:
                figures["profile"] = {f"T={n}": _profile(model, StepShape(((1, n),), 512, 1)) for n in (1, 512)}
    return figures


def _profile(model: vkrun.Model, shape: StepShape) -> dict[str, str]:
    ready = model.engine.ready(shape)
    program, nodes = ready.program, ready.plan.nodes
    program.profile()
    sums: dict[str, list[float]] = defaultdict(list)
    for node, seconds in zip(nodes, program.profile(), strict=True):
        sums[node.op].append(seconds)
    most = sorted(sums.items(), key=lambda kv: -sum(kv[1]))
    return {op: f"{len(s)} x {sum(s) / len(s) * 1e6:.1f} us = {sum(s) * 1e3:.3f} ms" for op, s in most}


PARTS = {"devices": devices, "table": table, "switches": switches, "golden": golden, "text": text, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="vulkan")
    parser.add_argument("--out", type=Path, help="folder for a JSON file a part")
    usual = (part for part in PARTS if part != "switches")
    parser.add_argument("--only", default=",".join(usual), help="parts, in order")
    parser.add_argument("--model", type=Path, default=vkrun.BUNDLED, help="what to time (the bundled model)")
    parser.add_argument(
        "--levels", type=int, nargs="*", default=LEVELS, help="of the table, beside each op as one node"
    )
    parser.add_argument("--every", type=int, default=1, help="of so many cases of the table one is run")
    parser.add_argument("--first", type=int, default=0, help="the first of these cases")
    args = parser.parse_args()
    failed = 0
    for name in args.only.split(","):
        start = time.perf_counter()
        try:
            made = PARTS[name](args)
        except Exception:
            made, failed = traceback.format_exc(), failed + 1
        shown = made if isinstance(made, str) else json.dumps(made, indent=1, default=str)
        print(f"== {name}, {time.perf_counter() - start:.1f} s\n{shown}", flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / f"{name}.json").write_text(json.dumps(made, indent=1, default=str))
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
