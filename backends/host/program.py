"""A plan as calls of kernels, one after the other."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import RLock

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage, Tensor
from ...shaders.catalogue import lower_all
from ...shaders.interface import of_text
from ...shaders.kernel import Features, KernelCall, KernelCode
from ..base import Program, Progress, noted
from ..packing import argument_bytes, packed_nbytes
from ..residents import homeless
from ..together import made_together
from .dispatch import Bound, Dispatch, Lanes, cells_of
from .kernels import HostKernel, kernel

Memory = dict[Storage, np.ndarray]  # bytes, as the device holds them
UNWRITTEN = 0xFF  # what memory is filled with: NaN as a float, far too much as an index

LOCK = RLock()  # held by whatever runs kernels: invocations take turns on one thread


@dataclass(frozen=True, eq=False)
class Way:
    """How kernels run: what they may use, whether everything that has no order goes backwards, and who makes them."""

    features: Features
    backwards: bool
    kernel: Callable[[KernelCode], HostKernel] = kernel


@dataclass(frozen=True, eq=False)
class Step:
    node: Node
    call: KernelCall
    dispatch: Dispatch


class HostProgram(Program):
    """Temporaries stand in one arena as the plan laid them out. What stands between two barriers has no order, and runs
    in that of the nodes, or backwards."""

    def __init__(self, plan: Plan, memory: Memory, way: Way, progress: Progress | None) -> None:
        self._plan, self._memory, self._way = plan, memory, way
        self._temps = _temps(plan)
        self._cells: dict[Storage, np.ndarray] = {}  # of what the plan writes
        lowered = zip(plan.nodes, lower_all(plan.nodes, way.features), strict=True)
        calls = {node: call for node, call in lowered if call}
        codes = (call.code for call in calls.values())
        kernels = made_together({}, codes, way.kernel, lambda _code, made: made, progress)
        self._steps = {node: self._step(node, call, kernels[call.code]) for node, call in calls.items()}
        self._open = True

    def run(self) -> None:
        with LOCK:
            self._require_open()
            for group in self._groups():
                for step in reversed(group) if self._way.backwards else group:
                    self._execute(step)

    def profile(self) -> list[float]:
        with LOCK:
            self._require_open()
            times = [self._seconds(self._steps.get(node)) for node in self._plan.nodes]
        return noted(self._plan, times)

    def read(self, tensor: Tensor) -> np.ndarray:
        if tensor.dtype.is_quantised:
            raise BackendError(f"{tensor}: block types cannot be read back")
        return _view(tensor, self._bytes(tensor.storage)).copy()

    def close(self) -> None:
        self._open = False
        self._steps.clear()
        self._temps.clear()

    def _groups(self) -> Iterator[list[Step]]:
        """What runs this time, between two barriers each."""
        for nodes in self._plan.between_barriers():
            yield [self._steps[node] for node in nodes if node in self._steps and self._takes(node)]

    def _takes(self, node: Node) -> bool:
        return node.branch is None or node.branch.taken(int(self.read(node.branch.which).item()))

    def _seconds(self, step: Step | None) -> float:
        start = time.perf_counter()
        if step is not None and self._takes(step.node):
            self._execute(step)
        return time.perf_counter() - start

    def _execute(self, step: Step) -> None:
        if why := step.dispatch.run():
            raise BackendError(f"host: {step.node.name or step.node.op}: {step.call.code.title}: {why}")

    def _step(self, node: Node, call: KernelCall, kernel: HostKernel) -> Step:
        """Storages are bound one by one, so that each starts at its first byte, and what lies beyond is noticed."""
        written, ordered = {t.storage for t in node.outputs}, of_text(call.stem, call.defines).order(call)
        bound = [self._bound(t.storage, t.storage in written) for t in ordered.buffers]
        arguments = argument_bytes(ordered, lambda _storage: 0)
        lanes = Lanes(max(self._way.features.subgroup_size, 1), self._way.backwards)
        return Step(node, call, Dispatch(kernel, bound, arguments, call.grid, lanes))

    def _bytes(self, storage: Storage) -> np.ndarray:
        found = (self._temps if storage.kind is Kind.TEMP else self._memory).get(storage)
        if found is None:
            raise homeless(storage)
        return found

    def _bound(self, storage: Storage, is_written: bool) -> Bound:
        data = self._bytes(storage)
        if is_written and storage not in self._cells:
            self._cells[storage] = cells_of(data)
        return Bound(data, self._cells[storage] if is_written else None)

    def _require_open(self) -> None:
        bound = (t.storage for step in self._steps.values() for t in step.call.buffers.values())
        if not self._open or any(s.kind is not Kind.TEMP and s not in self._memory for s in bound):
            raise BackendError("host: the program is closed, or memory that it uses was freed")


def _temps(plan: Plan) -> Memory:
    arena = np.full(plan.arena.nbytes, UNWRITTEN, np.uint8)
    places = plan.arena.offsets
    rest = [s for s in plan.storages(Kind.TEMP) if s not in places]
    apart: dict[Storage, np.ndarray] = {s: np.full(packed_nbytes(s), UNWRITTEN, np.uint8) for s in rest}
    return {s: arena[at : at + packed_nbytes(s)] for s, at in places.items()} | apart


def _view(t: Tensor, raw: np.ndarray) -> np.ndarray:
    """A tensor of plain numbers over its storage's bytes."""
    flat = raw.view(t.dtype.numpy)
    strides = [s * flat.itemsize for s in t.layout.strides]
    return np.lib.stride_tricks.as_strided(flat[t.layout.offset :], t.shape, strides)
