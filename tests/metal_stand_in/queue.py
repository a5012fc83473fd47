"""The queue: what is committed runs as late as it may, and between two barriers the last dispatch goes first."""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .commands import COMPLETED, ERROR, Barrier, CommandBuffer, ComputeEncoder, Dispatch
from .rules import demand

MAX_UNDER_WAY = 64  # command buffers, of a queue that was asked for nothing else


class CommandQueue:
    """Work runs when the host waits for it: a host that does not wait sees that nothing has happened. `fails` gives
    the next command buffers errors; `ran` are all that ran, while `keeps` is set."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._pending: list[CommandBuffer] = []
        self._seen: dict[int, int] = {}  # hashes of what buffers held when the GPU last was at them
        self.ran: list[CommandBuffer] = []

    def commandBufferWithUnretainedReferences(self) -> CommandBuffer:
        self.device.count("commandBufferWithUnretainedReferences")
        self.device.demand_pool()
        if len(self._pending) == MAX_UNDER_WAY:
            self.run_to(self._pending[0])
        return CommandBuffer(self)

    def committed(self, buffer: CommandBuffer) -> None:
        if not self._pending:
            self._seen = self._hashes()
        self._pending.append(buffer)

    def run_to(self, last: CommandBuffer) -> None:
        """All up to and with `last`."""
        if last not in self._pending:
            return
        for buffer in list(self._pending[: self._pending.index(last) + 1]):
            self._demand_untouched()
            self._run(buffer)
            self._pending.remove(buffer)
            self._seen = self._hashes() if self._pending else {}

    def _run(self, buffer: CommandBuffer) -> None:
        failure = self.device.failures.pop(0) if self.device.failures else None
        if failure is None:
            for encoder in buffer.encoders:
                for command in _in_some_order(encoder):
                    self._dispatch(command)
        buffer.state, buffer.failure = (ERROR, failure) if failure else (COMPLETED, None)
        if self.device.keeps:
            self.ran.append(buffer)
        for handler in buffer.handlers:
            handler(buffer)

    def _dispatch(self, dispatch: Dispatch) -> None:
        pipeline = dispatch.pipeline()
        demand(pipeline is not None, "released", "a pipeline that is gone")
        assert pipeline is not None
        kernel = pipeline.kernel
        rooms = [b if isinstance(b, bytes) else _room(b) for b in dispatch.bound]
        grid = dispatch.grid or _room(dispatch.indirect)[:12].view(np.uint32).tolist()  # type: ignore[arg-type]
        if not min(grid):
            return
        arguments = bytes(rooms.pop()[: kernel.arguments_nbytes]) if kernel.arguments_nbytes else b""
        why = kernel.run(rooms, arguments, grid)  # type: ignore[arg-type]
        demand(not why, "bounds", why)

    def _hashes(self) -> dict[int, int]:
        return {id(b): zlib.crc32(b.data) for b in self.device.buffers}

    def _demand_untouched(self) -> None:
        touched = [b for b in self.device.buffers if self._seen.get(id(b), zlib.crc32(b.data)) != zlib.crc32(b.data)]
        demand(not touched, "completion", f"the host wrote to {len(touched)} buffers while work was under way")


def _in_some_order(encoder: ComputeEncoder) -> Iterator[Dispatch]:
    """Backwards, between two barriers, where dispatches may run at once."""
    for group in groups_of(encoder):
        yield from reversed(group) if encoder.is_concurrent else group


def groups_of(encoder: ComputeEncoder) -> list[list[Dispatch]]:
    """Dispatches between two barriers each."""
    made: list[list[Dispatch]] = [[]]
    for command in encoder.commands:
        if isinstance(command, Barrier):
            made.append([])
        else:
            made[-1].append(command)
    return made


def _room(bound: Any) -> np.ndarray:
    buffer, offset = bound[0](), bound[1]
    demand(buffer is not None, "released", "a buffer that is gone")
    return buffer.data[offset:]
