"""What a device can do at best, measured: bytes moved by a large plain copy, arithmetic of large products.

Both run as nodes through the same backend and are timed by it, as the kernels that are held against them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...backends.base import Device
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.plan import make_plan
from ..ir.tensor import Kind, Storage, Tensor
from ..ir.traffic import Traffic, traffic

COPY_NBYTES = 256 << 20  # beyond the caches of the largest GPUs; less where a device's limits want it
COPY_NBYTES_SOFTWARE = 64 << 20
PRODUCT = 4096, 4096, 4096  # rows of x, rows of w, their length
PRODUCT_SOFTWARE = 256, 512, 1024
PRODUCT_CPU = 256, 512, 512
N_RUNS = 5
WARM_S = 0.5  # of running first: cards lower their clock while they idle


@dataclass(frozen=True)
class Ceilings:
    """Bytes a second, read and written together, and operations a second of the faster of an F32 and a Q8_0 product."""

    bytes_per_s: float
    flops_per_s: float


def measure_ceilings(device: Device) -> Ceilings:
    copied, copy_s = _copy(device)
    rates = [made.flops / seconds for made, seconds in (_product(device, dtype) for dtype in (DType.F32, DType.Q8_0))]
    return Ceilings((copied.read + copied.written) / copy_s, max(rates))


def _copy(device: Device) -> tuple[Traffic, float]:
    nbytes = COPY_NBYTES_SOFTWARE if device.info.is_software else COPY_NBYTES
    while True:
        source = _tensor("ceiling.copy", nbytes // 4096, 1024)
        graph = Graph()
        graph.contiguous(source)
        if nbytes <= 1 << 20 or not device.supports(graph.nodes[0]):
            return _timed(device, graph, [source])
        nbytes //= 2


def _product(device: Device, dtype: DType) -> tuple[Traffic, float]:
    is_plain = device.info.backend == "cpu"
    n, m, k = PRODUCT_CPU if is_plain else PRODUCT_SOFTWARE if device.info.is_software else PRODUCT
    w, x = _tensor("ceiling.w", m, k, dtype=dtype), _tensor("ceiling.x", n, k)
    graph = Graph()
    graph.mul_mat(w, x)
    return _timed(device, graph, [w, x])


def _tensor(name: str, *shape: int, dtype: DType = DType.F32) -> Tensor:
    return Storage(name, Kind.WEIGHT if dtype.is_quantised else Kind.STATE, dtype, shape).tensor()


def _content(s: Storage) -> np.ndarray:
    """Ones; zeros as blocks."""
    if s.dtype.is_quantised:
        return np.zeros((s.shape[0], s.dtype.nbytes(s.shape[1])), np.uint8)
    return np.ones(s.shape, np.float32)


def _timed(device: Device, graph: Graph, inputs: list[Tensor]) -> tuple[Traffic, float]:
    """The one node's traffic and its best time in seconds."""
    storages = [t.storage for t in inputs]
    device.alloc(storages)
    try:
        for s in storages:
            device.write(s, _content(s))
        program = device.compile(make_plan(graph))
        try:
            warm_up(program.run)
            seconds = min(program.profile()[0] for _ in range(N_RUNS))
        finally:
            program.close()
    finally:
        device.free(storages)
    return traffic(graph.nodes[0]), max(seconds, 1e-9)


def warm_up(run: Callable[[], object]) -> None:
    """Runs for WARM_S."""
    end = time.perf_counter() + WARM_S
    while time.perf_counter() < end:
        run()
