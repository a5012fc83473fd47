"""Programs that a device replays by itself: what is under way, and the outputs that each run leaves with the host."""

import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime.errors import BackendError
from ..runtime.ir.arrays import elements_of
from ..runtime.ir.layout import Layout
from ..runtime.ir.plan import Plan
from ..runtime.ir.tensor import Storage, Tensor
from .base import Program
from .packing import packed_range

IN_FLIGHT = 2  # submissions of one program


@dataclass(frozen=True)
class Output:
    """What of its storage an output touches: nbytes from byte `start` on."""

    tensor: Tensor
    start: int
    nbytes: int

    def array(self, raw: np.ndarray) -> np.ndarray:
        """Of those bytes, the caller's own."""
        t = self.tensor
        return elements_of(raw.view(t.dtype.numpy), t.layout, t.layout.offset).copy()


def outputs_of(plan: Plan) -> list[Output]:
    """Each once. BackendError where one cannot be read."""
    tensors = {(t.storage, t.layout): t for t in plan.graph.outputs.values()}.values()
    if bad := next((t for t in tensors if t.dtype.is_quantised), None):
        raise BackendError(f"{bad}: an output of block type {bad.dtype.name} cannot be read")
    return [Output(t, lo, hi - lo) for t, (lo, hi) in zip(tensors, map(packed_range, tensors), strict=True)]


class ReplayedProgram(Program):
    """`_flying` holds what stands for each submission under way, `_results` the bytes that a run leaves of each output.
    `_closed` is False from where close() has something to give back. A program that nobody closed and nobody holds
    becomes an orphan, which its device closes when it may."""

    _closed = True

    storages: frozenset[Storage]  # but its temporaries

    def __init__(self, programs: "Programs") -> None:
        self._orphans = programs.orphans
        self._flying: deque[Any] = deque()
        self._results: dict[tuple[Storage, Layout], tuple[Output, np.ndarray]] = {}

    @abstractmethod
    def submit(self) -> None: ...

    def run(self) -> None:
        self.submit()
        self.wait()

    def read(self, tensor: Tensor) -> np.ndarray:
        found = self._results.get((tensor.storage, tensor.layout))
        if found is None:
            raise BackendError(f"{tensor}: no output of the program")
        output, raw = found
        return output.array(raw)

    def __del__(self) -> None:
        if not self._closed:
            self._orphans.append(self)  # closed later: this may run amid anything

    def _keep_results(self, kept: Iterable[tuple[Output, np.ndarray]]) -> None:
        self._results = {(o.tensor.storage, o.tensor.layout): (o, raw) for o, raw in kept}

    def _require_open(self) -> None:
        if self._closed:
            raise BackendError("program: closed, or its storages were freed")

    def _require_room(self) -> None:
        if len(self._flying) == IN_FLIGHT:
            raise BackendError(f"program: {IN_FLIGHT} submissions under way, wait for one first")


class Programs:
    """A device's. What it calls itself it does under its lock."""

    def __init__(self) -> None:
        self.orphans: list[Program] = []  # that nobody closed and nobody holds
        self._held: weakref.WeakSet[ReplayedProgram] = weakref.WeakSet()

    def add(self, program: "ReplayedProgram") -> None:
        self._held.add(program)

    def close_over(self, storages: Iterable[Storage]) -> None:
        """Those that use one of these storages."""
        gone = frozenset(storages)
        for program in [p for p in self._held if p.storages & gone]:
            program.close()

    def close_orphans(self) -> None:
        while self.orphans:
            self.orphans.pop().close()

    def close(self) -> None:
        for program in list(self._held):
            program.close()
        self.close_orphans()
