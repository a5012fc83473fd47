#!/usr/bin/env python3
"""Times the scans of Mamba-2 and of Kimi's delta rule on this machine's device: token by token with 1, 2 and 4 rows of
a state a lane, and as a CPU's driver gets it; in one kernel over chunks of tokens, of several sizes; as it is chosen;
and in parts, which take the tokens in chunks as products of matrices.

    tools/reports/scans.py [--backend vulkan] [--runs 3] [--tokens 256] [--real]

A row a shape, with --real of models that people have; microseconds of the dispatches, the best of the runs; in brackets
how far the output is from that with a row a lane (NMSE). On a device that others use compare within a row.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from vkrun.backends import registry
from vkrun.backends.base import Device
from vkrun.backends.tuned import TunedDevice
from vkrun.runtime.ir import composites  # noqa: F401  (whose ops it times)
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.kernel import Features
from vkrun.shaders.recurrent import kimi_chunks, state_chunks, state_scan


@dataclass(frozen=True)
class Way:
    """Token by token with so many rows a lane, in chunks of a size, in parts, or else as the device chooses."""

    rows: int | None = None
    size: tuple[int, int] | None = None
    in_parts: bool = False
    software: bool = False


WAYS: Mapping[str, Way] = {
    **{f"{n} a lane": Way(rows=n) for n in (1, 2, 4)},
    "as on a CPU": Way(software=True),
    **{f"chunks {n} x {m}": Way(size=(n, m)) for n, m in (*state_chunks.SIZES, *kimi_chunks.SIZES)},
    "chosen": Way(),
    "in parts": Way(in_parts=True),
}


@dataclass(frozen=True)
class Shape:
    """Heads in groups, of dim x n_state; by_column: each column decays by itself, as in Kimi's rule."""

    op: str
    n_groups: int
    n_heads: int
    dim: int
    n_state: int
    by_column: bool = False

    @property
    def chunks(self) -> Any:  # a module whose `forced` is set
        return kimi_chunks if self.by_column else state_chunks

    @property
    def title(self) -> str:
        return f"{self.n_heads} heads of {self.dim} x {self.n_state} in {self.n_groups}"


SHAPES = (
    Shape("mamba2", 1, 16, 64, 16),
    Shape("mamba2", 1, 48, 64, 128),
    Shape("mamba2", 1, 48, 64, 256),
    Shape("kimi_delta", 32, 32, 128, 128, by_column=True),
)
REAL = (
    Shape("mamba2", 1, 128, 64, 128),  # granite-4-h-small
    Shape("mamba2", 8, 128, 80, 128),  # nemotron-h 8B and nano 9B
    Shape("mamba2", 2, 32, 128, 256),  # falcon-h1-34b
    Shape("kimi_delta", 32, 32, 128, 128, by_column=True),  # kimi-linear 48B
)


def contents(s: Shape, n_tokens: int) -> Iterator[np.ndarray]:
    """The operands in order, with gates as a trained model has them."""
    rng = np.random.default_rng(0)

    def normal(*of: int) -> np.ndarray:
        return rng.standard_normal(of, np.float32)

    x, gate = normal(1, n_tokens, s.n_heads, s.dim), normal(1, n_tokens, s.n_heads) - 2
    b, c = (normal(1, n_tokens, s.n_groups, s.n_state) for _ in range(2))
    a = -np.exp(normal(s.n_heads))
    if not s.by_column:
        yield from (x, b, c, gate, normal(s.n_heads), a, normal(s.n_heads))
    else:
        yield from (b, c, x, gate, normal(1, n_tokens, s.n_heads, s.n_state) - 2, a, normal(s.n_heads * s.n_state))
    yield from (np.zeros((1, s.n_heads * s.dim * s.n_state), np.float32), np.zeros(1, np.int32))
    yield np.full(1, n_tokens, np.int32)


def timed(device: Device, s: Shape, n_tokens: int, n_runs: int, in_parts: bool) -> tuple[np.ndarray, float]:
    """What it gives from an empty state, and its best time in seconds."""
    operands: dict[Tensor, np.ndarray] = {}
    for i, data in enumerate(contents(s, n_tokens)):
        dtype = DType.I32 if data.dtype == np.int32 else DType.F32
        operands[Storage(f"in{i}", Kind.STATE, dtype, data.shape).tensor()] = data
    device.alloc(t.storage for t in operands)
    for t, data in operands.items():
        device.write(t.storage, data)
    graph = Graph()
    graph.output("y", graph.emit(s.op, *operands)[0])
    plan = lean_plan(graph, 3, lambda node: "parts" if in_parts and node.op == s.op else device.supports(node))
    program = device.compile(plan)
    program.run()
    made = program.read(plan.graph.outputs["y"])
    seconds = min(sum(program.profile()) for _ in range(n_runs))
    program.close()
    device.free(t.storage for t in operands)
    return made, seconds


def features_of(own: Features, s: Shape, way: Way) -> Features | None:
    """What the device is taken for, None where a way is not for it."""
    if way.size:
        fits = way.size in s.chunks.SIZES and s.chunks.shared_nbytes(*way.size, s.n_state) <= own.shared_nbytes
        return replace(own, software=False, delta_chunks=True) if fits else None
    token_by_token = way.rows is not None or way.software
    return replace(own, software=way.software, delta_chunks=False) if token_by_token else own


def row(device: TunedDevice, s: Shape, n_tokens: int, n_runs: int) -> str:
    text, wanted, own = f"{s.op} {n_tokens} tokens, {s.title}", None, device.features
    for what, way in WAYS.items():
        if (features := features_of(own, s, way)) is None:
            continue
        state_scan.forced, s.chunks.forced, device.features = way.rows, way.size, features
        device.tune(features.tuning)
        made, seconds = timed(device, s, n_tokens, n_runs, way.in_parts)
        wanted = made if wanted is None else wanted
        text += f" | {what} {seconds * 1e6:.0f} ({((made - wanted) ** 2).sum() / (wanted**2).sum():.0e})"
    state_scan.forced, s.chunks.forced, device.features = None, None, own
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="vulkan")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--real", action="store_true")
    args = parser.parse_args()
    found, info = registry.choose(args.backend)
    device = found.open(info)
    assert isinstance(device, TunedDevice), f"{args.backend} chooses no kernels"
    for shape in REAL if args.real else SHAPES:
        print(row(device, shape, args.tokens, args.runs), flush=True)


if __name__ == "__main__":
    main()
