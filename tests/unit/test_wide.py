"""Tiles of wide.glsl fit every device: what a workgroup keeps in shared memory, and how many invocations it has."""

from itertools import product

import pytest
from vkrun.runtime.ir.dtypes import DType
from vkrun.shaders.kernel import Features
from vkrun.shaders.matmul.mul_mats import MOST_NORMED
from vkrun.shaders.matmul.wide import PIECE_NBYTES, WideTile, wide_experts, wide_joined, wide_tile
from vkrun.shaders.tables import shared_nbytes

ROWS = (8, 512, 1024, 1025, 2048, 4096, 8192, 16384, 151936)
INNER = (32, 512, 1024, 2048, 2880, 4096, 14336)
TYPES = [t for t in DType if t is not DType.I32]


def nbytes(tile: WideTile, features: Features, dtype: DType) -> int:
    """Of columns, sums of two tiles, squares of a norm (mul_mats.MOST_NORMED columns) and tables."""
    n_subgroups = -(-tile.local // features.subgroup_size)
    columns = PIECE_NBYTES * tile.cols * (tile.along * tile.steps + 1)
    squares = tile.cols * tile.local if tile.cols <= MOST_NORMED else 0
    return columns + 8 * n_subgroups * tile.rows * tile.cols + squares + shared_nbytes(dtype)


def tiles(features: Features, dtype: DType) -> list[WideTile]:
    by_rows = (wide_tile(r, c, k, features, dtype) for r, c, k in product(ROWS, (1, 2, 3, 4, 5, 8, 9, 32), INNER))
    experts = (wide_experts(k, features, dtype) for k in INNER)
    joined = (wide_joined(2048, k, n, features, dtype) for k, n in product(INNER, (1, 2, 3, 4, 8, 9)))
    return [*by_rows, *experts, *joined]


@pytest.mark.parametrize(("size", "shared"), list(product((8, 16, 32, 64), (16384, 32768, 49152, 65536))))
def test_every_tile_fits(size: int, shared: int) -> None:
    for workgroup, nvrtc in product((128, 256, 512, 1024), (False, True)):
        features = Features(subgroup_size=size, shared_nbytes=shared, max_workgroup=workgroup, nvrtc=nvrtc)
        for dtype in TYPES:
            made = tiles(features, dtype)
            assert max(nbytes(t, features, dtype) for t in made) <= shared, (workgroup, nvrtc, dtype)
            assert all(t.local <= workgroup and t.local % t.along == 0 for t in made), (workgroup, nvrtc, dtype)
