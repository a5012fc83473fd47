"""A worker's process that writes what is no message once it has been idle for a while. Run as a worker's module."""

import os
import threading
import time
from pathlib import Path
from tempfile import gettempdir

from vkrun.runtime.server.worker import pipe
from vkrun.runtime.server.worker.main import main

ONCE = Path(gettempdir()) / f"babbled {os.getppid()}"


def babble(to: pipe.Pipe) -> None:
    time.sleep(2)
    to._writes.write(b"Segmentation fault, said some driver\n" * 9)
    to._writes.flush()


_send = pipe.Pipe.send


def send(self: pipe.Pipe, message: object) -> None:
    _send(self, message)  # type: ignore[arg-type]
    if type(message).__name__ == "Ready" and not ONCE.exists():
        ONCE.touch()
        threading.Thread(target=babble, args=(self,), daemon=True).start()


if __name__ == "__main__":
    pipe.Pipe.send = send  # type: ignore[method-assign,assignment]
    main()
