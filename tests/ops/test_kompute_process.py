"""kompute as a process sees it: what is missing, opening again, leaving, and what the validation layer says."""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import vulkan
from vkrun.backends.kompute import BACKEND, api
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.tensor import Kind, Storage

needs_kp = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

PROGRAM = """
import sys
import numpy as np
from vkrun.backends.kompute import BACKEND
from vkrun.backends.kompute.device import KomputeDevice
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage

def use(on_host):
    g = Graph()
    x, state = g.input("x", (4, 70)), Storage("state", Kind.STATE, DType.F32, (4, 70)).tensor()
    y = x
    for i in range(30):
        y = g.add(g.scale(y, 0.5), g.mul(x, state))
    g.cpy(y, state)
    g.output("y", y)
    device = KomputeDevice(BACKEND.devices()[0], on_host)
    device.alloc([x.storage, state.storage])
    program = device.compile(make_plan(g))
    for _ in range(3):
        device.write(x.storage, np.ones((4, 70), np.float32))
        program.run()
        program.profile()
    assert np.isfinite(program.read(y)).all() and np.isfinite(device.read(state.storage)).all()
    return device, program
"""


def python(*code: str, **env: str) -> subprocess.CompletedProcess[str]:
    text = "\n".join(textwrap.dedent(part) for part in code)
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=os.environ | env, timeout=300
    )


def validation_layer_is_here() -> bool:
    layers = vulkan.vkEnumerateInstanceLayerProperties() if not BACKEND.why_missing() else []
    return any(layer.layerName == api.VALIDATION["VK_INSTANCE_LAYERS"] for layer in layers)


needs_layer = pytest.mark.skipif(
    not validation_layer_is_here(), reason="kp or the Khronos validation layer is not installed"
)


@needs_kp
def test_devices_are_told() -> None:
    info = BACKEND.devices()[0]
    assert info.backend == "kompute" and info.name and info.kind in ("cpu", "gpu")
    assert info.is_software == ("llvmpipe" in info.name)


@needs_kp
def test_a_device_opens_again_and_beside_another() -> None:
    info = BACKEND.devices()[0]
    s = Storage("s", Kind.STATE, DType.F32, (10,))
    for i in range(3):
        first, second = BACKEND.open(info), BACKEND.open(info)
        for device, value in ((first, i), (second, -i)):
            device.alloc([s])
            device.write(s, np.full(10, value, np.float32))
        assert (first.read(s) == i).all() and (second.read(s) == -i).all()
        first.close()
        assert (second.read(s) == -i).all()
        second.close()
        with pytest.raises(BackendError):
            second.alloc([s])


@needs_kp
def test_an_index_out_of_range_is_an_error() -> None:
    with pytest.raises(BackendError, match="opening device 99"):
        BACKEND.open(replace(BACKEND.devices()[0], index=99))


@needs_kp
def test_loading_leaves_the_root_logger_alone() -> None:
    run = python("""
        import logging
        from vkrun.backends.kompute import BACKEND
        assert not BACKEND.why_missing()
        assert not logging.getLogger().handlers
    """)
    assert run.returncode == 0, run.stderr


def test_importing_the_backend_does_not_import_kp() -> None:
    run = python("import sys, vkrun.backends.kompute; sys.exit('kp' in sys.modules)")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("kp"), "not installed: in a checkout ./tools/vkrun builds it"),
        (ImportError("libvulkan.so.1: cannot open"), "libvulkan.so.1.*tools/setup/build_kp.sh"),
        (BackendError("kompute: listing devices: none"), "no Vulkan device"),
    ],
)
def test_what_is_missing_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(api, "list_devices", fail)
    assert BACKEND.devices() == []
    assert re.search(f"{says}[^\n]*$", BACKEND.why_missing())


@needs_kp
@pytest.mark.parametrize(
    "leave",
    [
        "kept = use(True), use(False)",
        "device, program = use(False); program.close(); device.close()",
        "device, program = use(False); del device; import gc; gc.collect(); del program",
        "device, program = use(True); device.close()",
        "device, program = use(True); del program; import gc; gc.collect(); sys.exit(0)",
    ],
)
def test_a_process_ends_well(leave: str) -> None:
    run = python(PROGRAM, leave)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@needs_layer
@pytest.mark.parametrize("on_host", [True, False])
def test_the_validation_layer_is_silent(on_host: bool) -> None:
    run = python(PROGRAM, f"use({on_host})[0].close()", VKRUN_VALIDATE="1")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@needs_layer
def test_the_validation_layer_would_speak_of_a_missing_barrier() -> None:
    """The same program with all nodes in one sequence, so that the test above is known to be able to fail."""
    broken = """
        from dataclasses import replace
        import vkrun.backends.kompute.program as p
        groups = p._groups
        p._groups = lambda plan, found: groups(replace(plan, barriers=(False,) * len(plan.nodes)), found)
        use(True)[0].close()
    """
    run = python(PROGRAM, broken, VKRUN_VALIDATE="1")
    assert "READ_AFTER_WRITE" in run.stdout + run.stderr
