"""Which products warpgroups take, and by which tiles."""

from dataclasses import replace

import pytest
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.shaders.catalogue import lower
from vkrun.shaders.kernel import Features, KernelCall
from vkrun.shaders.matmul.matrix_tiles import WARPGROUP_EXPERT_TILES, WARPGROUP_TILES, Tile

HOPPER = Features(
    subgroup_size=32,
    float16=True,
    shared_nbytes=49152,
    warpgroup_nbytes=232448,
    max_workgroup=1024,
    cooperative_matrix=((16, 16, 16), (16, 8, 16)),
    nvrtc=True,
)


def product(
    n_rows: int, n_cols: int, n_inner: int = 2048, halved: bool = True, features: Features = HOPPER
) -> KernelCall:
    w = Storage("w", Kind.WEIGHT, DType.Q4_0, (n_rows, n_inner)).tensor()
    x = Storage("x", Kind.STATE, DType.F32, (n_cols, n_inner)).tensor()
    g = Graph()
    g.emit("mul_mat", w, x, *([g.one("halves", x)] if halved else []))
    call = lower(g.nodes[-1], features)
    assert call is not None
    return call


def tile(call: KernelCall) -> tuple[int, int, int]:
    """Rows, columns, and whether warpgroups multiply them."""
    return call.constants["TILE_ROWS"], call.constants["TILE_COLS"], call.constants["WARPGROUPS"]


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((4096, 512), (128, 128, 1)),  # 128 tiles
        ((2048, 512), (128, 64, 1)),  # 64, and 128 of half of them
        ((1024, 512), (32, 32, 0)),
        ((151936, 64), (128, 64, 1)),  # the wider tile's second half would be empty
        ((151936, 32), (128, 32, 0)),
        ((4096, 512, 2080), (32, 32, 0)),  # no stages of 64
    ],
)
def test_tiles_by_shape(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> None:
    assert tile(product(*shape)) == wanted


def test_columns_have_to_be_halves_and_a_device_has_to_have_warpgroups() -> None:
    assert product(4096, 512).granted_nbytes == WARPGROUP_TILES[0].granted_nbytes
    without = replace(HOPPER, warpgroup_nbytes=0)
    for call in (product(4096, 512, halved=False), product(4096, 512, features=without)):
        assert tile(call) == (128, 64, 0) and call.granted_nbytes == 0


def test_what_a_tile_of_warpgroups_has_to_be() -> None:
    assert all(t.granted_nbytes > 0 for t in (*WARPGROUP_TILES, *WARPGROUP_EXPERT_TILES))
    for wrong in ({"copies": 1}, {"groups": 1}, {"splits": 2}, {"ahead": 2}, {"stages": 3}, {"part_rows": 64}):
        with pytest.raises(AssertionError):
            Tile(**{**vars(WARPGROUP_TILES[0]), **wrong})
