"""Runs the real command, in pipes or on a pseudo-terminal."""

import ctypes
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

VKRUN = str(Path(sys.executable).with_name("vkrun"))
MODEL = str(Path(__file__).parents[1] / "models" / "golden" / "q8_0.gguf")
ON_CPU = ("--backend", "cpu")
SECONDS = 60.0  # far more than anything here takes, so that only a hang runs into it
_READLINE = re.compile(r"\x1b\[\?2004[hl]\r?")  # readline's own words to the terminal


def environment(**changes: str) -> dict[str, str]:
    """This one without vkrun's variables and Python's, with the changes; an empty value takes a variable out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VKRUN_", "PYTHON"))} | {"TERM": "xterm"}
    return {k: v for k, v in {**kept, **changes}.items() if v}


def vkrun(*words: str, stdin: bytes | None = b"", **changes: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [VKRUN, *words], input=stdin, capture_output=True, timeout=SECONDS, env=environment(**changes), check=False
    )


def errors(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode().splitlines()


class Terminal:
    """A command on a pseudo-terminal of its own. `text` is all it wrote, less readline's mode switches."""

    def __init__(self, *words: str, **changes: str) -> None:
        main, side = pty.openpty()
        self._fd = main
        self.process = subprocess.Popen(
            [VKRUN, *words],
            stdin=side,
            stdout=side,
            stderr=side,
            env=environment(**changes),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(side)
        self._raw = b""
        self._seen = 0

    @property
    def text(self) -> str:
        return _READLINE.sub("", self._raw.decode("utf-8", "replace")).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def interrupt_thread(self) -> None:
        """SIGINT to one of the command's threads that is not its main one, as the kernel may choose."""
        pid = self.process.pid
        other = max(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
        assert other != pid and ctypes.CDLL(None).tgkill(pid, other, signal.SIGINT) == 0

    def wait_for(self, pattern: str) -> str:
        """The text up to and with the pattern, from where the last call ended."""
        end = time.monotonic() + SECONDS
        while not (match := re.compile(pattern).search(self.text, self._seen)):
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"no {pattern!r} in {self.text[self._seen :]!r}")
        before, self._seen = self._seen, match.end()
        return self.text[before : match.end()]

    def ends(self) -> int:
        """The exit code, after all that was written has been read."""
        end = time.monotonic() + SECONDS
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(5)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self._raw += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._fd)


def _take_terminal() -> None:
    """Makes the pseudo-terminal the new session's own, so that a typed Ctrl-C becomes its SIGINT."""
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which shells ignore for what they start in the background
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
