"""A regular file open for positioned reads, so that a file cut short while in use is an error and not a crash."""

import io
import os
import stat
import threading

from ..errors import GGUFError, UsageError, reason
from .keys import printable

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class RawFile:
    """A regular file; its size is that at opening."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        shown = printable(self.path, 500)
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            # without O_NONBLOCK the open of a FIFO waits for a writer
            fd = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except (OSError, ValueError) as error:
            raise GGUFError(f"{shown}: cannot open: {reason(error)}") from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise GGUFError(f"{shown}: {_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, expected a GGUF file")
        self.size = status.st_size
        self._lock = threading.Lock()
        self._file = io.FileIO(fd, "rb")

    def close(self) -> None:
        self._file.close()

    def read_into(self, view: memoryview, offset: int, what: str) -> None:
        """Fill the view from the offset; GGUFError where the file ends early or cannot be read."""
        if self._file.closed:
            raise UsageError(f"{printable(self.path)}: read of {what} after close")
        done = 0
        while done < len(view):
            try:
                n = self._read_once(view[done:], offset + done)
            except OSError as error:
                raise GGUFError(f"{what}: cannot read at byte {offset + done}: {error.strerror}") from None
            if n == 0:
                raise GGUFError(f"{what}: file ends at byte {offset + done}, expected {offset + len(view)}")
            done += n

    def _read_once(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:  # a system without positioned reads into a buffer
            self._file.seek(offset)
            return self._file.readinto(view)
