"""Whether a backend can be asked for its devices without harm: a child process is asked first.

A driver that is broken, and kp where there is no driver at all, end the process that asks. That a child outlived the
question is remembered until the machine starts anew or its drivers, its packages or the environment change, so that it
costs a few stat() calls from then on.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from ..runtime import config

TIMEOUT_S = 60
N_KEPT = 100

# what a child runs; an exception is no harm, since the parent meets it too
_ASK = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
from importlib import import_module
module, _, attribute = sys.argv[2].partition(":")
getattr(import_module(module), attribute).devices()
"""

# where drivers and their loader are found, and the devices they speak to
_PLACES = (
    *("/etc/ld.so.cache", "/dev/dri", "/dev/kfd", "/dev/dxg", "/dev/nvidiactl"),
    *("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "~/.local/share/vulkan/icd.d"),
    *("/etc/vulkan/implicit_layer.d", "/usr/share/vulkan/implicit_layer.d"),
)


def why_harmful(name: str, target: str) -> str:
    """Empty when the backend at `module:attribute` can be asked for its devices; else what happens, in a line."""
    stamp = _stamp(target)
    if stamp is not None and stamp.exists():
        return ""
    if why := _ask_child(target):
        return f"{name}: {why}, most likely by a broken driver, or for want of one; install or repair it"
    if stamp is not None:
        _leave(stamp)
    return ""


def _ask_child(target: str) -> str:
    command = [sys.executable, "-B", "-P", "-c", _ASK, json.dumps(sys.path), target]
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"asked for its devices, it gave no answer within {TIMEOUT_S} s"
    except OSError:  # no interpreter to run, as in a program with Python inside: then nothing can be said beforehand
        return ""
    if done.returncode in (0, 1):  # 1: an exception
        return ""
    return f"asked for its devices, the process is ended ({_ending(done.returncode)})"


def _ending(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code:#x}"


def _marks() -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Packages, drivers and devices: what is there, and since when."""
    files = [f for value in config.of_drivers().values() for f in value.split(os.pathsep) if os.path.isabs(f)]
    for place in (*sys.path, *files, *map(os.path.expanduser, _PLACES)):
        with suppress(OSError):
            is_folder = os.path.isdir(place) and place not in sys.path
            yield place, os.stat(place).st_mtime_ns, tuple(sorted(os.listdir(place))) if is_folder else ()


def _boot() -> str:
    """A name for the time since the machine started, or for today where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return date.today().isoformat()


def _stamp(target: str) -> Path | None:
    """The file that says so, named after all that decides what a child would meet; None where none can be kept."""
    parts = [target, sys.executable, _boot(), *config.of_drivers().items(), *_marks()]
    folder = config.cache_dir()
    return folder / "probes" / hashlib.sha256(repr(parts).encode()).hexdigest()[:32] if folder else None


def _leave(stamp: Path) -> None:
    """Best effort: where it cannot be kept, a child is asked each time. Of the older ones, the latest stay."""
    with suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        kept = sorted(stamp.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in kept[:-N_KEPT]:
            path.unlink()
