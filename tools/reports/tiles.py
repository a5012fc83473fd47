#!/usr/bin/env python3
"""Times other tiles of few columns in a model on this machine's GPU: what is worth a try in shaders/matmul.

    tools/reports/tiles.py FILE [--backend vulkan] [--seqs 1] [--seconds 60] [--seed 0]

The file is loaded once (its first layers are enough: tools/synthesize.py --layers 4), then planned anew with tiles
drawn at random for all kernels at once, which tells how long each takes by itself. A row a kernel: its own tile's
microseconds, then the best ones. A tile is invocations x rows x columns / invocations along a row / turns / workgroups
at most; one of matrices as tools/reports/products.py writes them, with teams and stages in registers behind. Products
of one input run side by side in a model, and kernels that start early depend on those before them: what is better here
has to be tried there.
"""

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from itertools import product
from statistics import median
from typing import Any

import vkrun
from vkrun.runtime.bench.ceilings import warm_up
from vkrun.runtime.bench.measure import Test, run
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.tensor import Kind, Tensor
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import Features
from vkrun.shaders.matmul import matrices, matrix_tiles, wide
from vkrun.shaders.matmul.matrix_tiles import Tile
from vkrun.shaders.matmul.wide import WideTile, takes_wide

OWN_EVERY, N_RUNS, N_BEST = 9, 5, 5
LEFT_NBYTES = 2048  # of shared memory, for tables and what kernels keep beside columns
MOST_GROUPS = 132, 264, 396, 528, 1056, 1 << 30


def wide_tiles(key: str, n_seqs: int, features: Features) -> Iterator[WideTile]:
    size = features.subgroup_size
    columns = sorted({1, min(2, n_seqs), min(4, n_seqs), min(8, n_seqs)}) if "rows" in key else [1]
    for local, rows, cols in product((128, 256, 384, 512, 768, 1024), (1, 2, 4), columns):
        for along, steps, most in product((size, 2 * size), (1, 2, 3, 4, 6), MOST_GROUPS):
            held = wide.PIECE_NBYTES * (along * steps + 1) * cols + 8 * (local // size) * rows * cols
            fits = held + LEFT_NBYTES <= features.shared_nbytes and local <= features.max_workgroup
            if fits and local % along == 0 and (key != "experts" or rows == 2):
                yield WideTile(local, rows, cols, along, steps, most)


def few_tiles(n_seqs: int, n_inner: int, features: Features) -> Iterator[Tile]:
    """n_inner: what all rows are a multiple of."""
    cols = 8 if n_seqs <= 8 else 16 if n_seqs <= 16 else 32
    for rows, part, groups in product((16, 32, 64, 128), (16, 32, 64), (1, 2, 4)):
        for stages, splits, ahead in product((1, 2), (1, 2, 3, 4, 6, 8, 12), (1, 2)):
            tile = Tile(rows, cols, groups, part, cols, stages, splits, ahead)
            fits = tile.shared_nbytes + LEFT_NBYTES <= features.shared_nbytes
            fits = fits and tile.local(features) <= min(features.max_workgroup, 16 * features.subgroup_size)
            if fits and part <= rows and n_inner % (matrix_tiles.GROUP * groups) == 0 and tile.n_parts * splits >= 2:
                yield tile


def weights_of(node: Node) -> list[Tensor]:
    return [t for t in node.inputs if t.storage.kind is Kind.WEIGHT and t.ndim > 1 and t.shape[-1] > 4]


class Asked(dict[str, WideTile]):
    """In the place of wide.forced: which tile a kernel asks for."""

    last = ""

    def get(self, key: str, default: Any = None) -> Any:
        self.last = key
        return default


def key_of(node: Node, features: Features) -> str:
    """What its tile is forced by, or nothing."""
    kept, wide.forced = wide.forced, (asked := Asked())
    try:
        if not refusal(node, features):
            lower(node, features)
        return asked.last
    finally:
        wide.forced = kept


def label(node: Node) -> str:
    shapes = " ".join("x".join(map(str, w.shape)) for w in weights_of(node))
    return f"{node.op} {shapes} {weights_of(node)[-1].dtype.name}"


def by_matrices(node: Node, features: Features) -> bool:
    ways = (k for k in matrices.KERNELS if k.op == node.op and weights_of(node))
    return any(not k.refuses(node, features) for k in ways)


def timed(engine: Engine, n_seqs: int, features: Features) -> dict[str, tuple[Node, float]]:
    """Of each kind of product a node and its microseconds."""
    engine.close()
    test = Test(0, 8, 0, n_seqs)
    run(engine, test)
    warm_up(lambda: run(engine, test))  # cards lower their clock while kernels are compiled
    ready = engine.last
    assert ready is not None
    runs = zip(*(ready.program.profile() for _ in range(N_RUNS)), strict=True)
    found: dict[str, tuple[Node, list[float]]] = {}
    for node, seconds in zip(ready.plan.nodes, runs, strict=True):
        if key_of(node, features) or by_matrices(node, features):
            found.setdefault(label(node), (node, []))[1].append(median(seconds) * 1e6)
    return {kind: (node, median(us)) for kind, (node, us) in found.items()}


def text_of(tile: WideTile | Tile) -> str:
    if isinstance(tile, WideTile):
        most = f" / {tile.most}" if tile.most < 1 << 30 else ""
        return f"{tile.local} x {tile.rows} x {tile.cols} / {tile.along} / {tile.steps}{most}"
    text = f"{tile.rows} x {tile.cols} / {tile.groups} / {tile.part_rows} x {tile.part_cols} / {tile.stages}"
    return f"{text} / {tile.splits} / {tile.ahead}"


def sweep(engine: Engine, args: argparse.Namespace, features: Features) -> dict[str, list[tuple[float, str]]]:
    """Of each kind of product times and tiles, "own" among them, until the time is over or the device is lost."""
    rng, end = random.Random(args.seed), time.perf_counter() + args.seconds
    nodes = [node for node, _ in timed(engine, args.seqs, features).values()]
    inner = math.gcd(*(w.shape[-1] for node in nodes for w in weights_of(node)))
    keys = {key_of(node, features) for node in nodes} - {""}
    drawn: dict[str, list[Any]] = {key: list(wide_tiles(key, args.seqs, features)) for key in keys}
    shared = list(few_tiles(args.seqs, inner, features)) if features.cooperative_matrix else []
    results: dict[str, list[tuple[float, str]]] = {}
    for tiles in (*drawn.values(), shared):
        rng.shuffle(tiles)
    for i in itertools.takewhile(lambda _: time.perf_counter() < end, itertools.count()):
        is_own = i % OWN_EVERY == 0
        wide.forced.clear()
        wide.forced.update({} if is_own else {key: tiles[i % len(tiles)] for key, tiles in drawn.items() if tiles})
        matrix_tiles.forced = (shared[i % len(shared)], 1) if shared and not is_own else None
        try:
            for kind, (node, us) in timed(engine, args.seqs, features).items():
                forced = matrix_tiles.forced if by_matrices(node, features) else None
                tile = forced[0] if forced else wide.forced.get(key_of(node, features))
                results.setdefault(kind, []).append((us, text_of(tile) if tile else "own"))
        except VkrunError as error:
            print(f"stopped by {wide.forced} and {matrix_tiles.forced}: {error}")
            break
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--backend")
    parser.add_argument("--seqs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with vkrun.load(args.file, backend=args.backend, n_ctx=256, n_seqs=args.seqs) as model:
        features: Features = model.engine.device.features  # pyright: ignore[reportAttributeAccessIssue]
        if not takes_wide(features):
            raise SystemExit(f"{model.engine.device.info.name}: no GPU with subgroups, there are no tiles to choose")
        for kind, times in sweep(model.engine, args, features).items():
            own = median(us for us, tile in times if tile == "own")
            best = sorted((us, tile) for us, tile in times if tile != "own")[:N_BEST]
            print(f"{kind}: own {own:.1f}; " + ", ".join(f"{us:.1f} by {tile}" for us, tile in best))


if __name__ == "__main__":
    main()
