"""The worker's end of its pipes, which are standard input and output that nothing else uses then."""

import os
import sys
import threading
from typing import BinaryIO

from .messages import N_LENGTH, Answer, Command, check_length, pack, unpack


class Pipe:
    """Any thread may send."""

    def __init__(self, reads: BinaryIO, writes: BinaryIO) -> None:
        self._reads, self._writes = reads, writes
        self._lock = threading.Lock()

    def receive(self) -> Command | None:
        """The next command; None where no more comes."""
        length = self._reads.read(N_LENGTH)
        if len(length) < N_LENGTH:
            return None
        n = check_length(int.from_bytes(length, "little"))
        body = self._reads.read(n)
        return unpack(body) if len(body) == n else None

    def send(self, message: Answer) -> None:
        """OSError where nobody reads any more."""
        data = pack(message)
        with self._lock:
            self._writes.write(data)
            self._writes.flush()


def own_pipe() -> Pipe:
    """Takes standard input and output; what others print goes to standard error from now on."""
    reads, writes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return Pipe(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"))
