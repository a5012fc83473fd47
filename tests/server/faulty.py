"""A worker's process whose device fails on demand: when a file of a fault's name appears in FAULTS, it happens once, at
the next step. Run as a worker's module."""

import os
import time
from pathlib import Path

from vkrun.backends.cpu import CpuProgram
from vkrun.runtime.errors import BackendError
from vkrun.runtime.server.worker.main import main

FAULTS = Path(os.environ["FAULTS"])
LONG = 1000.0


def lost() -> None:
    raise BackendError("cpu: the device was lost")


def memory() -> None:
    raise BackendError("cpu: 64 GiB wanted, 1 GiB free")


def bug() -> None:
    raise FileNotFoundError(2, "secret", "/home/somebody/secret")


def hang() -> None:
    time.sleep(LONG)


def slow() -> None:
    time.sleep(0.5)


def abort() -> None:
    os.abort()


KINDS = {f.__name__: f for f in (lost, memory, bug, hang, slow, abort)}
_run = CpuProgram.run


def run(program: CpuProgram) -> None:
    for name, fault in KINDS.items():
        wanted = FAULTS / name
        if wanted.exists():
            wanted.unlink()
            fault()
    _run(program)


if __name__ == "__main__":
    CpuProgram.run = run  # type: ignore[method-assign]
    main()
