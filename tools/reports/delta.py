#!/usr/bin/env python3
"""Times the gated delta rule on this machine's device: the scan against chunks of several sizes, and against two steps
by cooperative matrices.

    tools/reports/delta.py [--runs 10]

A row a shape (sequences, tokens, key heads, value heads, width), microseconds of its dispatches, the best of the runs;
in brackets how far the output is from the scan's (NMSE). Cards lower their clock while idle: compare within a row.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from vkrun.backends.base import Device
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.ir import composites  # noqa: F401  (whose op it times)
from vkrun.runtime.ir.composites.recurrent.delta_parts import pays
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import lean_plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.kernel import Features
from vkrun.shaders.recurrent import delta_chunks as chunks

Shape = tuple[int, int, int, int, int]
SHAPES: tuple[Shape, ...] = (
    *((b, t, 16, 32, 128) for b in (1, 4) for t in (16, 32, 64, 128, 512, 2048)),
    (1, 512, 2, 4, 64),
    (1, 512, 4, 8, 32),
)


def contents(shape: Shape) -> Iterator[tuple[str, np.ndarray]]:
    """The operands in order, with gates as a trained model has them."""
    n_seqs, n_tokens, n_keys, n_values, dim = shape
    rng = np.random.default_rng(0)

    def normal(*of: int) -> np.ndarray:
        return rng.standard_normal(of, np.float32)

    for name, n_heads in (("q", n_keys), ("k", n_keys), ("v", n_values)):
        yield name, normal(n_seqs, n_tokens, n_heads, dim)
    gates = n_seqs, n_tokens, n_keys, n_values // n_keys
    yield "beta", normal(*gates)
    yield "alpha", normal(*gates) - 3
    yield "a", -np.exp(normal(n_values))
    yield "dt", normal(n_values)
    yield "state", np.zeros((n_seqs, n_values * dim * dim), np.float32)
    yield "slots", np.arange(n_seqs, dtype=np.int32)
    yield "n_valid", np.full(n_seqs, n_tokens, np.int32)


def timed(device: Device, shape: Shape, n_runs: int, in_steps: bool = False) -> tuple[np.ndarray, float]:
    """The rule's output and its best time in seconds; in_steps: as a plan takes it, else in one dispatch."""
    operands: dict[Tensor, np.ndarray] = {}
    for name, data in contents(shape):
        dtype = DType.I32 if data.dtype == np.int32 else DType.F32
        operands[Storage(name, Kind.STATE, dtype, data.shape).tensor()] = data
    device.alloc(t.storage for t in operands)
    for t, data in operands.items():
        device.write(t.storage, data)
    graph = Graph()
    graph.output("y", graph.emit("gated_delta_net", *operands)[0])
    program = device.compile(lean_plan(graph, 3, device.supports) if in_steps else make_plan(graph))
    program.run()
    made = program.read(graph.outputs["y"])
    seconds = min(sum(program.profile()) for _ in range(n_runs))
    program.close()
    device.free(t.storage for t in operands)
    return made, seconds


def row(scan: Device, chunked: Device, room: int, shape: Shape, n_runs: int) -> str:
    """room: bytes of shared memory."""
    wanted, seconds = timed(scan, shape, n_runs)
    text = f"{shape!s:24} scan {seconds * 1e6:8.1f}"
    for size in chunks.SIZES:
        if chunks.shared_nbytes(*size, shape[4]) <= room:
            chunks.forced = size
            got, seconds = timed(chunked, shape, n_runs)
            error = ((got - wanted) ** 2).sum() / (wanted**2).sum()
            text += f" | {size[0]} x {size[1]} {seconds * 1e6:8.1f} ({error:.0e})"
    chunks.forced = None
    if pays(shape[0], shape[1], shape[3], shape[4]):
        got, seconds = timed(chunked, shape, n_runs, in_steps=True)
        text += f" | steps {seconds * 1e6:8.1f} ({((got - wanted) ** 2).sum() / (wanted**2).sum():.0e})"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    info = BACKEND.devices()[0]
    own = Features(**{**info.features, "software": False})
    scan, chunked = (BACKEND.open(info, features=replace(own, delta_chunks=on)) for on in (False, True))
    for shape in SHAPES:
        print(row(scan, chunked, own.shared_nbytes, shape, args.runs), flush=True)


if __name__ == "__main__":
    main()
