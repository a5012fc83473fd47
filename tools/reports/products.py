#!/usr/bin/env python3
"""Times prompts' products on this machine's device: the plain kernels against tiles of cooperative matrices.

    tools/reports/products.py [--backend vulkan] [--tokens 512] [--runs 6] [--only attn_qkv "ffn_up, F16"]

A row a product of the 80B shape, or of Llama's 8B, and a tile: rows x columns / groups of 32 a stage / a subgroup's
part / stages (and workgroups that share an expert's columns; w3: of warpgroups, with three stages of columns copied),
microseconds, TFLOP/s, how far the result is from the plain kernel's (NMSE). Ids of experts are spread evenly.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from vkrun.backends import registry
from vkrun.backends.base import Device
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.ir.quants import random_blocks
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.ir.traffic import traffic
from vkrun.shaders.matmul import matrix_tiles

N_EXPERTS, N_PICKED = 512, 10
WARM_S = 0.12  # cards lower their clock while they idle
COPIES = 8  # of small weights, so that they come from memory


@dataclass(frozen=True)
class Shape:
    what: str
    dtype: DType
    n_rows: int
    n_inner: int
    experts: bool = False


SHAPES = (
    Shape("attn_qkv", DType.Q4_0, 8192, 2048),
    Shape("attn_gate", DType.Q4_0, 4096, 2048),
    Shape("ssm_out", DType.Q4_0, 2048, 4096),
    Shape("ffn_gate_shexp", DType.Q4_0, 512, 2048),
    Shape("ffn_gate_inp", DType.F32, 512, 2048),
    Shape("attn_qkv, Q8_0", DType.Q8_0, 8192, 2048),
    Shape("attn_qkv, Q6_K", DType.Q6_K, 8192, 2048),
    Shape("attn_q", DType.Q4_K, 4096, 4096),
    Shape("ffn_up", DType.Q4_K, 14336, 4096),
    Shape("ffn_down", DType.Q4_K, 4096, 14336),
    Shape("ffn_up, F16", DType.F16, 14336, 4096),
    Shape("ffn_up, Q8_0", DType.Q8_0, 14336, 4096),
    Shape("ffn_gate_exps", DType.Q4_0, 512, 2048, True),
    Shape("ffn_down_exps", DType.Q4_0, 2048, 512, True),
)


def graph_of(shape: Shape, n_tokens: int, device: Device) -> tuple[Graph, list[Storage]]:
    """The product as often as there are copies of its weight, everything filled."""
    rng, of_experts = np.random.default_rng(0), (N_EXPERTS,) if shape.experts else ()
    kind = Kind.WEIGHT if shape.dtype.is_quantised else Kind.STATE
    wide = (*of_experts, shape.n_rows, shape.n_inner)
    weights = [Storage(f"w{i}", kind, shape.dtype, wide) for i in range(1 if shape.experts else COPIES)]
    slots = (N_PICKED if shape.n_inner < shape.n_rows else 1,) if shape.experts else ()
    x = Storage("x", Kind.STATE, DType.F32, (n_tokens, *slots, shape.n_inner))
    ids = Storage("ids", Kind.STATE, DType.I32, (n_tokens, N_PICKED))
    device.alloc([*weights, x, ids])
    for w in weights:
        device.write(w, filling(shape, rng))
    device.write(x, rng.standard_normal(x.shape, np.float32))
    device.write(ids, np.argsort(rng.random((n_tokens, N_EXPERTS)))[:, :N_PICKED].astype(np.int32))
    g = Graph()
    for i, w in enumerate(weights):
        one = g.mul_mat_id(w.tensor(), x.tensor(), ids.tensor()) if shape.experts else g.mul_mat(w.tensor(), x.tensor())
        g.output(f"y{i}", one)
    return g, [*weights, x, ids]


def filling(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if not shape.dtype.is_quantised:
        return rng.standard_normal((shape.n_rows, shape.n_inner), np.float32).astype(shape.dtype.numpy)
    n_repeats = N_EXPERTS if shape.experts else 1
    return np.tile(random_blocks(shape.dtype, shape.n_rows, shape.n_inner, rng), (n_repeats, 1))


def timed(device: Device, graph: Graph, n_runs: int) -> tuple[float, np.ndarray]:
    """The median time of a product in seconds, and the first one's result."""
    plan = lean_plan(graph, 3, device.supports)
    program = device.compile(plan)
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_S:
        program.run()
    runs = np.median([program.profile() for _ in range(n_runs)], 0)
    made = program.read(graph.outputs["y0"])
    program.close()
    return float(np.median([s for s, n in zip(runs, plan.nodes, strict=True) if traffic(n).flops])), made


def tiles(shape: Shape, device: Device) -> Iterator[tuple[matrix_tiles.Tile, int]]:
    own = (*matrix_tiles.EXPERT_TILES, matrix_tiles.LARGE_TILE) if shape.experts else matrix_tiles.TILES
    more = matrix_tiles.WARPGROUP_EXPERT_TILES if shape.experts else matrix_tiles.WARPGROUP_TILES
    for tile in (*own, *(more if device.info.features["warpgroup_nbytes"] else ())):
        yield from ((tile, n) for n in ((1, 4, 8) if shape.experts else (1,)))


def report(shape: Shape, n_tokens: int, n_runs: int, plain: Device, device: Device) -> None:
    flops = 2 * shape.n_rows * shape.n_inner * n_tokens * (N_PICKED if shape.experts else 1)
    graph, storages = graph_of(shape, n_tokens, plain)
    seconds, wanted = timed(plain, graph, n_runs)
    plain.free(storages)
    print(f"{shape.what:16} plain {'':24} {seconds * 1e6:9.1f} us {flops / seconds / 1e12:6.1f} TFLOP/s", flush=True)
    graph, storages = graph_of(shape, n_tokens, device)
    for tile, slices in tiles(shape, device):
        matrix_tiles.forced = tile, slices
        seconds, got = timed(device, graph, n_runs)
        nmse = float(((got - wanted) ** 2).sum() / (wanted**2).sum())
        name = f"{tile.rows}x{tile.cols}/{tile.groups}/{tile.part_rows}x{tile.part_cols}/{tile.stages}"
        name += f"{f' w{tile.copies}' if tile.warpgroups else ''} ({slices})"
        rate = flops / seconds / 1e12
        print(f"{shape.what:16} {name:30} {seconds * 1e6:9.1f} us {rate:6.1f} TFLOP/s {nmse:8.1e}", flush=True)
    matrix_tiles.forced = None
    device.free(storages)


def opened(name: str) -> Device:
    backend, info = registry.choose(name, None)
    return backend.open(info)


def plain_one(name: str) -> Device:
    with patch.dict(os.environ, {"VKRUN_NO_COOPMAT": "1"}):
        return opened(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="vulkan")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--only", nargs="*", help="shapes by name")
    args = parser.parse_args()
    plain, device = plain_one(args.backend), opened(args.backend)
    if not device.info.features["cooperative_matrix"]:
        raise SystemExit(f"{device.info.name}: no cooperative matrices of halves")
    for shape in SHAPES:
        if not args.only or shape.what in args.only:
            report(shape, args.tokens, args.runs, plain, device)


if __name__ == "__main__":
    main()
