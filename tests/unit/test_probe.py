"""A backend that ends the process which asks it: what is said of it, and what is remembered of the others."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from vkrun.backends import probe

MODULE = """
import os, signal, time
class Backend:
    def devices(self):
        open({log!r}, "a").write("asked ")
        {does}
BACKEND = Backend()
"""


class Written:
    """The module some_backend, whose devices() does as it is told; `times` it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "log"
        self._log.write_text("")

    def __call__(self, does: str) -> None:
        (self._folder / "some_backend.py").write_text(MODULE.format(does=does, log=str(self._log)))

    @property
    def times(self) -> int:
        return len(self._log.read_text().split())


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    (tmp_path / "modules").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("VKRUN_CACHE_DIR", str(tmp_path / "cache"))
    return Written(tmp_path / "modules")


def why() -> str:
    return probe.why_harmful("own", "some_backend:BACKEND")


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("os.abort()", r"own: asked for its devices, the process is ended \(SIGABRT\), most likely by a broken driver"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"\(SIGSEGV\)"),
        ("os._exit(77)", r"\(exit code 0x4d\)"),
    ],
)
def test_what_ends_the_process_is_told_each_time(backend: Written, does: str, said: str) -> None:
    backend(does)
    assert re.match(f"(own: )?.*{said}[^\n]*$", why()) and why()
    assert backend.times == 2  # not remembered: it may be mended at any time


def test_one_that_never_answers_is_told(backend: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    backend("time.sleep(60)")
    monkeypatch.setattr(probe, "TIMEOUT_S", 1)
    assert "no answer within 1 s" in why()


@pytest.mark.parametrize("does", ["return []", "raise RuntimeError"])
def test_what_does_no_harm_is_remembered(backend: Written, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend(does)
    assert [why(), why(), why()] == [""] * 3 and backend.times == 1
    monkeypatch.setenv("VK_DRIVER_FILES", "/none")
    assert why() == "" and backend.times == 2
    monkeypatch.delenv("VK_DRIVER_FILES")
    assert why() == "" and backend.times == 2


def test_what_is_remembered_does_not_grow(backend: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend("return []")
    monkeypatch.setattr(probe, "N_KEPT", 2)
    for i in range(3):
        monkeypatch.setenv("VK_DRIVER_FILES", f"/none/{i}")
        assert why() == ""
    assert len(list((tmp_path / "cache" / "probes").iterdir())) == 2


CHANGES: dict[str, Callable[[pytest.MonkeyPatch, Path], object]] = {
    "a driver is wished for": lambda patch, _: patch.setenv("VK_DRIVER_FILES", "/none"),
    "the machine starts": lambda patch, _: patch.setattr(probe, "_boot", lambda: "another"),
    "a package comes": lambda _, folder: (folder / "modules" / "kp").mkdir(),
    "another interpreter": lambda patch, _: patch.setattr(sys, "executable", os.path.realpath(sys.executable)),
    "a driver comes": lambda patch, folder: patch.setattr(probe, "_PLACES", [str(folder)]),
    "nothing can be kept": lambda patch, _: patch.setattr(probe, "_stamp", lambda _: None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_asked_about(
    backend: Written, change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend("return []")
    assert why() == ""
    time.sleep(0.01)  # more than a file system's clock tick
    CHANGES[change](monkeypatch, tmp_path)
    assert why() == "" and backend.times == 2


ASK = """
from importlib.metadata import EntryPoint
from vkrun.backends import registry
registry._entry_points = lambda: (EntryPoint("own", "some_backend:BACKEND", registry.GROUP),)
print([d.backend for d in registry.devices() if d.backend in ("own", "cpu")])
print(registry.get("own").why_missing())
"""


def test_the_one_who_asks_the_registry_lives_on(backend: Written, tmp_path: Path) -> None:
    backend("os.abort()")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "modules")}
    run = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=100, env=environ)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == "['cpu']" and "SIGABRT" in run.stdout.splitlines()[1]
