"""The parent's side of template_worker: starts it, asks it, and kills it when it takes too long."""

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

from .. import config
from ..errors import TextError, reason

WORKER = Path(__file__).with_name("template_worker.py")
MAX_LINE = 64 << 20  # the worker's longest text, escaped, is well below
START_SECONDS = 30.0


class TemplateFailure(TextError):
    """A template that fails with these messages; with other ones it may not."""


class TemplateProcess:
    """Renders templates; `seconds` bounds one rendering, `n_bytes` the worker's memory where the system can.

    Started on first use or by start(), kept for later ones, replaced when it had to be killed. Any thread may ask.
    """

    def __init__(self, seconds: float = 3.0, n_bytes: int = 1 << 30) -> None:
        self._seconds = seconds
        self._n_bytes = n_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize | None = None
        self._is_new = False  # the worker has yet to say that it is ready

    def render(self, source: str, variables: dict[str, Any]) -> str:
        """The template's text. TextError for a template that fails (with its line) or goes beyond its bounds."""
        try:
            request = json.dumps({"source": source, "variables": variables}).encode("ascii") + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise TextError(f"chat messages: {error}") from error
        with self._lock:
            process = self._running()
            reply = self._ask(process, request)
        if "error" in reply:
            where = f"chat template, line {reply['line']}" if reply.get("line") else "chat template"
            raise TemplateFailure(f"{where}: {_one_line(reply['error'])}")
        return reply["text"]

    def start(self) -> None:
        """Begins to start the worker and returns at once, so that the first rendering need not wait."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._launch()

    def close(self) -> None:
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._launch()
        assert self._process is not None
        return self._process

    def _launch(self) -> None:
        if not sys.executable:
            raise TextError("chat template: no Python executable to render it with")
        if self._finalizer is not None:
            self._finalizer()
        command = [sys.executable, "-S", "-P", str(WORKER), str(self._seconds), str(self._n_bytes)]
        try:
            pipe, none = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=none, env=_environment(), start_new_session=True
            )
        except OSError as error:
            raise TextError(f"chat template: cannot start {sys.executable}: {reason(error)}") from error
        self._finalizer = weakref.finalize(self, _stop, self._process)
        self._is_new = True

    def _ask(self, process: subprocess.Popen[bytes], request: bytes) -> dict[str, Any]:
        try:
            if self._is_new:
                self._is_new = False
                _exchange(process, b"", START_SECONDS)
            return _exchange(process, request, self._seconds)
        except OSError as error:
            assert self._finalizer is not None
            self._finalizer()
            self._process = None
            raise TextError(f"chat template: {error}") from error


def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> dict[str, Any]:
    """The worker's next line; OSError where it died or was killed for time.

    A timer that kills works with blocking pipes on every system, where select() does not.
    """
    assert process.stdin is not None and process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        process.stdin.write(request)
        process.stdin.flush()
        line = process.stdout.readline(MAX_LINE)
    finally:
        late = not timer.is_alive()
        timer.cancel()
    if not line.endswith(b"\n"):
        raise OSError(f"stopped after {seconds:g} s" if late else "the process that renders it broke down")
    return json.loads(line)


def _environment() -> dict[str, str]:
    """Only what Python needs to start and find jinja2: an untrusted template's process holds no secrets."""
    places = os.pathsep.join(path for path in sys.path if path)
    return config.of_python() | {"PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
