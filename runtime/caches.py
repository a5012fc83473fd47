"""Files that spare the next process some work."""

import os
from contextlib import suppress
from pathlib import Path


def keep(path: Path, made: bytes) -> None:
    """Best effort: a disk that is full or read-only costs time, nothing else. By rename, so that several processes may
    keep the same at once."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(made)
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
