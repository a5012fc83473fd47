"""WorkerProcess: one worker as the server's process sees it: started, told, watched, and started again."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from ... import config
from ...errors import VkrunError
from ...model import ModelInfo
from ..jobs import State, WorkerHealth
from .messages import N_LENGTH, Answer, Command, Died, Loading, Ready, Start, check_length, pack, unpack
from .options import WorkerOptions

SLOWEST = 30.0  # seconds between two starts that fail
TRIES = 3  # of a process that was never ready
STEADY = 60.0  # seconds after which one that ends counts as the first again
CLOSING = 15.0


class WorkerProcess:
    """on_answer: told what the process says; on_end: why it ended, after which it is started again.

    is_busy: has it been given work? Then it has to give signs of life. is_given_up: it never got ready, by an error of
    the model's file or the options, or of whatever kind several times, and is not started again.
    """

    def __init__(
        self,
        options: WorkerOptions,
        index: int,
        on_answer: Callable[["WorkerProcess", Answer], None],
        on_end: Callable[["WorkerProcess", str], None],
        is_busy: Callable[["WorkerProcess"], bool],
    ) -> None:
        self.state: State = "loading"
        self.index, self.error, self.is_given_up = index, "", False
        self.info: ModelInfo | None = None
        self.n_restarts, self.loaded_in = 0, 1.0
        self._options, self._on_answer, self._on_end, self._is_busy = options, on_answer, on_end, is_busy
        self._process: Process | None = None
        self._done, self._heard, self._compiles = 0.0, 0.0, False
        self._hung, self._own, self._closing = "", False, False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    def send(self, command: Command) -> None:
        """Commands to a process that has ended are lost, as what they are about is."""
        if not self._is_busy(self):
            self._heard = time.monotonic()
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(pack(command))

    def health(self) -> WorkerHealth:
        pid = self._process.pid if self._process else None
        device = self.info.device if self.info else ""
        return WorkerHealth(self.state, device, self._done, self.error, self.n_restarts, pid)

    async def close(self) -> None:
        """End it, in peace where it has any."""
        self._closing, process = True, self._process
        if process and process.stdin:
            process.stdin.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), CLOSING)
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep_running(self) -> None:
        n_failures = 0
        while True:
            began = time.monotonic()
            why = await self._live()
            if self._closing:
                return
            was_ready, self.state, self.error, self._done = self.state == "ok", "failed", why, 0.0
            n_failures = 0 if was_ready and time.monotonic() - began > STEADY else n_failures + 1
            self.is_given_up = not self.info and (self._own or n_failures == TRIES)
            self._on_end(self, why)
            if self.is_given_up:
                return
            if n_failures > 1:
                await asyncio.sleep(min(2.0 ** (n_failures - 2), SLOWEST))
            self.n_restarts += 1

    async def _live(self) -> str:
        """One process from begin to end, and why it ended."""
        self.state, self._heard, self._compiles = "loading", time.monotonic(), False
        try:
            self._process = process = await _launch(self._options)
        except OSError as error:
            return f"the worker cannot be started: {error.strerror}"
        watch = asyncio.get_running_loop().create_task(self._watch(process))
        try:
            self.send(Start(self._options, self.index))
            return await self._listen(process) or await _fate(process)
        finally:
            watch.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._process = None

    async def _listen(self, process: Process) -> str:
        """To all that the process says; why it will end, where it said so."""
        assert process.stdout
        began, why = time.monotonic(), ""
        while message := await _receive(process.stdout):
            self._heard = time.monotonic()
            match message:
                case Loading(what, done, total):
                    self._compiles = what == "compiling" and done < max(total, 1)
                    self._done = done / total if what == "loading" and total else self._done
                case Ready(info):
                    self.state, self.info, self.error, self._done = "ok", info, "", 1.0
                    self.loaded_in = self._heard - began
                case Died(error, own):
                    why, self._own = error, own
            self._on_answer(self, message)
        return why or self._hung

    async def _watch(self, process: Process) -> None:
        """Kill a process that should say something, and does not."""
        self._hung = ""
        while not self._hung:
            loads = self.state == "loading" or self._compiles
            limit = self._options.load_seconds if loads else self._options.step_seconds
            await asyncio.sleep(min(limit / 4, 1.0))
            late = time.monotonic() - self._heard > limit
            if late and (loads or self._is_busy(self)):
                self._hung = f"no sign of the worker for {limit:g} s while it {'loads' if loads else 'works'}"
                process.kill()


async def _launch(options: WorkerOptions) -> Process:
    places = os.pathsep.join(path for path in sys.path if path)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", options.module),
        stdin=PIPE,
        stdout=PIPE,
        env=config.with_path(places),
        start_new_session=True,  # so that Ctrl-C at the terminal reaches this process alone
    )


async def _receive(reader: asyncio.StreamReader) -> Answer | None:
    """None where no more comes, or nothing that is a message."""
    try:
        n = check_length(int.from_bytes(await reader.readexactly(N_LENGTH), "little"))
        return unpack(await reader.readexactly(n))
    except (asyncio.IncompleteReadError, ConnectionError, VkrunError):
        return None


async def _fate(process: Process) -> str:
    """What became of a process that said nothing about it."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 1.0)
    code = process.returncode
    if code is None:
        return "the worker said what no worker says"
    return f"the worker was ended by signal {-code}" if code < 0 else f"the worker ended with status {code}"
