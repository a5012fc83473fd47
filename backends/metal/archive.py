"""Machine code of kernels on disk, in one of Metal's binary archives a device and system."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...runtime import config
from .context import Context

MAX_NBYTES = 256 << 20


class Archive:
    """`handle` is a MTLBinaryArchive with what earlier processes left, or None where none can be kept."""

    def __init__(self, context: Context) -> None:
        self._context, self._path = context, _path(context)
        self._added = False
        self.handle: Any = self._opened() if self._path else None

    def add(self, descriptor: Any) -> None:
        """A pipeline's, for the next process. Best effort."""
        if self.handle is not None:
            done, _error = self.handle.addComputePipelineFunctionsWithDescriptor_error_(descriptor, None)
            self._added |= bool(done)

    def save(self) -> None:
        """Best effort, and by rename, so that several processes may save at once."""
        if self._path is None or not self._added:
            return
        self._added = False
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            done, _error = self.handle.serializeToURL_error_(self._url(scratch), None)
            if done:
                scratch.replace(self._path)

    def _opened(self) -> Any:
        """What is kept is sound or refused by Metal, and then begun anew."""
        assert self._path is not None
        if _is_kept(self._path) and (kept := self._archive(self._path)) is not None:
            return kept
        return self._archive(None)

    def _archive(self, path: Path | None) -> Any:
        descriptor = self._context.metal.MTLBinaryArchiveDescriptor.alloc().init()
        if path is not None:
            descriptor.setUrl_(self._url(path))
        return self._context.device.newBinaryArchiveWithDescriptor_error_(descriptor, None)[0]

    def _url(self, path: Path) -> Any:
        return self._context.metal.NSURL.fileURLWithPath_(str(path))


def _path(context: Context) -> Path | None:
    """None when there is no place for caches, or they are switched off."""
    wanted, physical = config.read(), context.physical
    if wanted.cache_dir is None or not wanted.has("PIPELINE_CACHE"):
        return None
    key = hashlib.sha256(f"{physical.name}:{physical.driver}".encode()).hexdigest()[:24]
    return wanted.cache_dir / "metal" / f"{key}.archive"


def _is_kept(path: Path) -> bool:
    with suppress(OSError):
        return 0 < path.stat().st_size <= MAX_NBYTES
    return False
