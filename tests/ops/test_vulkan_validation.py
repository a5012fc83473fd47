"""The Khronos validation layer is silent on the op table and on a device's whole life, and speaks where it should.

The layer is chosen when the process makes its Vulkan instance, so each test runs a process of its own.
"""

import os
import subprocess
import sys

LIFE = """
import numpy as np
from dataclasses import replace
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import lean_plan, make_plan
from vkrun.runtime.ir.tensor import Kind
device = BACKEND.open(BACKEND.devices()[0])
g = Graph()
x = g.input("x", (64,))
for _ in range(6):
    x = g.add(g.silu(x), x)
g.output("y", x)
plan = make_plan(g)
device.alloc([g.inputs["x"].storage])
"""

TABLE_RECORDED = """
import sys
from vkrun.runtime.optable.run import prepare_for
from vkrun.runtime.optable.table import CASES
for case in CASES[:: int(sys.argv[1])]:
    setting = prepare_for(case, device)
    device.alloc(setting.contents)
    for storage, data in setting.contents.items():
        device.write(storage, data)
    plan = lean_plan(setting.graph, 3, device.supports) if device.supports(setting.node) else make_plan(setting.graph)
    device.compile(plan).close()
    device.free(setting.contents)
device.close()
print(device.validation_messages())
"""

SILENT = """
import sys
program = device.compile(plan)
for _ in range(3):
    device.write(g.inputs["x"].storage, np.ones(64, np.float32))
    program.run()
program.profile()
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
bad = [o for o in (run_case(c, device) for c in CASES[:: int(sys.argv[1])]) if o.status != "pass"]
device.close()
for o in bad:
    print(o.case.op, o.case.what, o.why)
print(device.validation_messages())
"""

MISSING_BARRIERS = """
try:
    device.compile(replace(plan, barriers=(False,) * len(plan.nodes))).run()
except BackendError as error:
    print("READ-AFTER-WRITE" in str(error))
print(len(device.validation_messages()) > 0)
"""

LEAK = """
program = device.compile(plan)
program._closed = True  # as if it had been closed
device.close()
print(any("has not been destroyed" in m for m in device.validation_messages()))
"""


def run(code: str, every: int = 1, **environ: str) -> str:
    """What code prints that follows LIFE, and may run one of `every` cases."""
    env = {**os.environ, "VKRUN_VALIDATE": "1", **environ}
    command = [sys.executable, "-c", LIFE + code, str(every)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layer_is_silent_on_the_op_table(full: bool) -> None:
    """Recorded, not run: the layer checks commands as they are recorded, and software drivers compile at the run.
    With --full all of it."""
    assert run(TABLE_RECORDED, 1 if full else 40) == "[]\n"


def test_the_layer_is_silent_on_a_life_and_some_of_the_table(full: bool) -> None:
    assert run(SILENT, 9 if full else 200) == "[]\n"


def test_the_layer_is_silent_with_staging_and_small_submissions(full: bool) -> None:
    assert run(SILENT, 9 if full else 200, VKRUN_NO_MAPPED_WEIGHTS="1", VKRUN_SUBMIT_GFLOP="0.001") == "[]\n"


def test_missing_barriers_are_reported() -> None:
    assert run(MISSING_BARRIERS) == "True\nTrue\n"


def test_leaked_objects_are_reported() -> None:
    assert run(LEAK) == "True\n"
