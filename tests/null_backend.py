"""A backend that records what it is asked for and computes nothing: loader and planner tests in milliseconds."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from vkrun.backends.base import Device, DeviceInfo, Program
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.plan import Plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor


@dataclass(eq=False)
class NullProgram(Program):
    plan: Plan
    n_runs: int = 0
    is_closed: bool = False

    def run(self) -> None:
        assert not self.is_closed
        self.n_runs += 1

    def read(self, tensor: Tensor) -> np.ndarray:
        assert any(tensor is t for t in self.plan.graph.outputs.values())
        return np.zeros(tensor.shape, tensor.dtype.numpy)

    def profile(self) -> list[float]:
        self.run()
        return [0.0] * len(self.plan.nodes)

    def close(self) -> None:
        self.is_closed = True


@dataclass(eq=False)
class NullDevice(Device):
    """`missing` names ops it has no kernel for. `written` counts the bytes that each storage was given."""

    missing: Collection[str] = ()
    info: DeviceInfo = field(default_factory=lambda: DeviceInfo("null", 0, "nothing"))
    written: dict[Storage, int] = field(default_factory=dict)
    programs: list[NullProgram] = field(default_factory=list)

    def supports(self, node: Node) -> str:
        return f"[{node.op}] no kernel" if node.op in self.missing else ""

    def alloc(self, storages: Iterable[Storage]) -> None:
        for s in storages:
            assert s.kind is not Kind.TEMP
            self.written.setdefault(s, 0)

    def free(self, storages: Iterable[Storage]) -> None:
        for s in storages:
            self.written.pop(s, None)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        row_nbytes = storage.dtype.nbytes(storage.shape[-1])
        assert row * row_nbytes + data.nbytes <= storage.nbytes and data.nbytes % row_nbytes == 0
        self.written[storage] += data.nbytes

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        return np.zeros(storage.shape if n_rows is None else (n_rows, storage.shape[-1]), storage.dtype.numpy)

    def compile(self, plan: Plan) -> Program:
        lasting = (s for kind in (Kind.WEIGHT, Kind.STATE, Kind.INPUT) for s in plan.storages(kind))
        assert all(s in self.written for s in lasting)
        assert not [n for n in plan.nodes if self.supports(n)]
        self.programs.append(NullProgram(plan))
        return self.programs[-1]

    def close(self) -> None:
        self.written.clear()
