"""The cpu backend: numpy, slow and obviously right. The oracle for the others, and the last resort."""

import platform
import time
from collections.abc import Iterable

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.arrays import elements_of
from ...runtime.ir.dtypes import DType, from_bf16, to_bf16
from ...runtime.ir.graph import Node
from ...runtime.ir.ops import OPS
from ...runtime.ir.ops.blocks import Blocks
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage, Tensor
from ..base import Backend, Device, DeviceInfo, Program
from ..host_memory import host_nbytes_free
from ..room import require_room


class CpuBackend(Backend):
    name = "cpu"

    def devices(self) -> list[DeviceInfo]:
        return [DeviceInfo("cpu", 0, platform.processor() or platform.machine(), f"numpy {np.__version__}")]

    def why_missing(self) -> str:
        return ""

    def open(self, info: DeviceInfo) -> Device:
        return CpuDevice(info)


class CpuDevice(Device):
    """Storages are flat arrays: numbers in their dtype, blocks as bytes in GGUF's own layout."""

    compiles = False

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self._memory: dict[Storage, np.ndarray] = {}

    def nbytes_free(self) -> int:
        return host_nbytes_free()

    def supports(self, node: Node) -> str:
        return "" if node.op in OPS else f"[{node.op}] is no op"

    def alloc(self, storages: Iterable[Storage]) -> None:
        """BackendError when the machine has no memory for them."""
        wanted = list(storages)
        require_room("cpu", ((s.name, s.nbytes) for s in wanted), host_nbytes_free())
        self._memory.update((s, _empty(s)) for s in wanted)

    def free(self, storages: Iterable[Storage]) -> None:
        for s in storages:
            self._memory.pop(s, None)

    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        flat = np.ascontiguousarray(data).reshape(-1)
        units = storage.shape[-1] if not storage.dtype.is_quantised else storage.dtype.nbytes(storage.shape[-1])
        self._memory[storage][row * units : row * units + flat.size] = flat

    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        whole = self._memory[storage].reshape(storage.array_shape)
        if n_rows is None:
            return whole.copy()
        rows = whole.reshape(-1, whole.shape[-1])
        if row < 0 or n_rows < 0 or row + n_rows > len(rows):
            raise BackendError(f"{storage.name}: rows {row} to {row + n_rows}, it has {len(rows)}")
        return rows[row : row + n_rows].copy()

    def compile(self, plan: Plan) -> Program:
        return CpuProgram(plan, self._memory)

    def close(self) -> None:
        self._memory.clear()


class CpuProgram(Program):
    """Runs the nodes one by one through their numpy meaning."""

    def __init__(self, plan: Plan, memory: dict[Storage, np.ndarray]) -> None:
        self._plan, self._memory = plan, memory
        self._temps = {s: _empty(s) for s in plan.storages(Kind.TEMP)}

    def run(self) -> None:
        for node in self._plan.nodes:
            self._step(node)

    def profile(self) -> list[float]:
        marks = [time.perf_counter()]
        for node in self._plan.nodes:
            self._step(node)
            marks.append(time.perf_counter())
        return np.diff(marks).tolist()

    def read(self, tensor: Tensor) -> np.ndarray:
        return self._array(tensor).copy()

    def close(self) -> None:
        self._temps.clear()

    def _step(self, node: Node) -> None:
        if node.branch and not node.branch.taken(int(self._array(node.branch.which).item())):
            return
        with np.errstate(all="ignore"):  # inf and NaN are values like any other here
            results = OPS[node.op].compute(*map(self._value, node.inputs), **node.attrs)
            for tensor, result in zip(node.outputs, results, strict=True):
                self._put(tensor, result)

    def _put(self, t: Tensor, result: "np.ndarray | Blocks") -> None:
        """What is of blocks already stays as it is, to the bit."""
        if t.dtype.is_quantised and isinstance(result, Blocks):
            self._blocks(t).raw[...] = result.raw
        elif t.dtype.is_quantised:
            self._blocks(t)[...] = np.asarray(result)
        else:
            self._array(t)[...] = to_bf16(np.asarray(result)) if t.dtype is DType.BF16 else result

    def _value(self, t: Tensor) -> "np.ndarray | Blocks":
        """A tensor as the reference wants it: float32 or int32, or Blocks."""
        if t.dtype.is_quantised:
            return self._blocks(t)
        array = self._array(t)
        if t.dtype is DType.BF16:
            return from_bf16(array)
        return array.astype(np.float32) if t.dtype is DType.F16 else array

    def _array(self, t: Tensor) -> np.ndarray:
        flat = self._temps[t.storage] if t.storage.kind is Kind.TEMP else self._memory[t.storage]
        return elements_of(flat.view(t.dtype.numpy), t.layout)

    def _blocks(self, t: Tensor) -> Blocks:
        n, nbytes = max(1, t.storage.shape[-1]), t.dtype.nbytes(t.storage.shape[-1])
        rows = self._memory[t.storage][t.layout.offset // n * nbytes :]
        shape = *t.shape[:-1], t.dtype.nbytes(t.shape[-1])
        strides = *(s // n * nbytes for s in t.layout.strides[:-1]), 1
        return Blocks(np.lib.stride_tricks.as_strided(rows, shape, strides), t.dtype, t.shape[-1])


def _empty(s: Storage) -> np.ndarray:
    return np.zeros(s.nbytes if s.dtype.is_quantised else s.n_elements, s.dtype.numpy)


BACKEND = CpuBackend()
