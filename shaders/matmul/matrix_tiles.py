"""Tiles of products by cooperative matrices, and which one for which shape: see matrix_tile.glsl and warpgroups.glsl.

As tools/reports/products.py measured on an H100; those of warpgroups on an H200.
"""

from dataclasses import dataclass, replace

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ..kernel import Constants, Features
from ..tables import shared_nbytes
from .mul_mat_args import Product, ceil_div

MOST_FEW = 32  # columns, up to which FEW_TILES are for
WANTED_GROUPS = 240  # workgroups that keep a large GPU busy: two a processor, or one of several teams
WANTED_WARPGROUPS = 120  # of WARPGROUP_TILES, nearly one a processor
WANTED_LARGE = 480  # of LARGE_TILE, of which four fit one
GROUP = 32  # elements of dequant.glsl's groups


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a workgroup's tile and of each subgroup's part of it; groups of 32 elements a stage; stages
    of a team in shared memory, teams that share all stages, and stages of a team in registers. `warpgroups`: four
    subgroups multiply as one, of stages of two groups and of columns that are halves; `copies` stages of them are
    copied to shared memory beside all else, or with 0 go through registers like rows."""

    rows: int
    cols: int
    groups: int
    part_rows: int
    part_cols: int
    stages: int = 2
    splits: int = 1
    ahead: int = 1
    warpgroups: bool = False
    copies: int = 0

    def __post_init__(self) -> None:
        """What warpgroups.glsl counts on."""
        if self.warpgroups:
            assert (self.groups, self.splits, self.ahead) == (2, 1, 1) and self.stages in (1, 2) and self.copies != 1
            assert self.rows // self.part_rows % 4 == 0

    @property
    def n_parts(self) -> int:
        return self.rows // self.part_rows * (self.cols // self.part_cols)

    @property
    def shared_nbytes(self) -> int:
        """What matrix_tile.glsl declares, and mul_mat_id_matrix.comp beside it."""
        stage = (self.rows + self.cols) * (4 * self.groups + 1)
        return 16 * self.splits * self.stages * stage + 8 * self.cols

    @property
    def granted_nbytes(self) -> int:
        """What warpgroups.glsl has in shared memory."""
        return 128 * (self.stages * self.rows + (self.copies or self.stages) * self.cols) if self.warpgroups else 0

    def local(self, features: Features) -> int:
        """Invocations of a workgroup."""
        return self.n_parts * self.splits * features.subgroup_size


TILES = (
    Tile(128, 128, 2, 64, 64, 1),
    Tile(128, 64, 2, 64, 32, 1),
    Tile(64, 64, 4, 32, 32, 1),
    Tile(64, 64, 2, 32, 32, 2),
    Tile(32, 32, 4, 16, 16, 1),
    Tile(32, 32, 1, 16, 16, 2),
)
LARGE_FEW_TILES = (  # of few columns, where there are enough rows for them, as an output's
    Tile(128, 8, 4, 16, 8, 1),
    Tile(64, 16, 4, 16, 16, 1),
    Tile(128, 32, 2, 32, 32, 1),
)
FEW_TILES = (  # of each number of columns the largest first, then what takes any row
    Tile(32, 8, 4, 16, 8, 1, 4),
    Tile(16, 8, 2, 16, 8, 1, 8),
    Tile(16, 8, 1, 16, 8, 1, 8),
    Tile(32, 16, 2, 32, 16, 1, 4),
    Tile(16, 16, 2, 16, 16, 1, 8),
    Tile(16, 16, 1, 16, 16, 1, 8),
    Tile(64, 32, 2, 16, 32, 1),
    Tile(32, 32, 2, 32, 32, 1, 4),
    Tile(16, 32, 2, 16, 32, 1, 6),
    Tile(16, 32, 1, 16, 32, 1, 6),
)
NARROW_TILES = (  # likewise, as NVRTC compiles them
    Tile(32, 8, 2, 32, 8, 1, 8, 2),
    Tile(16, 8, 2, 16, 8, 1, 12),
    Tile(32, 16, 2, 32, 16, 1, 4, 2),
    Tile(16, 16, 2, 16, 16, 1, 8, 2),
)
EXPERT_TILES = (
    Tile(128, 32, 2, 32, 32, 1),
    Tile(128, 32, 1, 32, 32, 1),
    Tile(128, 64, 2, 64, 32, 1),
    Tile(128, 64, 1, 64, 32, 1),
)
WARPGROUP_TILES = (  # where there are WANTED_WARPGROUPS of it the first
    Tile(128, 128, 2, 16, 128, warpgroups=True, copies=3),
    Tile(128, 64, 2, 16, 64, warpgroups=True),
)
WARPGROUP_EXPERT_TILES = (
    Tile(128, 32, 2, 32, 32, 1, warpgroups=True),
    Tile(128, 48, 2, 32, 48, 1, warpgroups=True),
    Tile(128, 64, 2, 32, 64, 1, warpgroups=True),
)
FEW_EXPERT_TILE = Tile(128, 16, 2, 32, 16, 1)  # of at most MOST_FEW tokens
LARGE_TILE = Tile(128, 48, 2, 32, 48, 1)  # of experts, where there are enough of it
MOST_SUMS = 32  # matrices of a subgroup, which matrix_tile.glsl writes out
forced: tuple[Tile, int] | None = None  # a tile and slices to take whatever the shape, for those who measure


def shape_of(features: Features, most_cols: int = 16) -> tuple[int, int, int] | None:
    """The kind of cooperative matrix to use: every part of a tile, of `most_cols` or a multiple, is whole ones."""
    cols = [n for n in (8, 16) if n <= most_cols]
    fits = (s for s in features.cooperative_matrix if s[0] in (8, 16) and s[1] in cols and s[2] in (8, 16, 32))
    return max(fits, key=lambda s: (s[0] * s[1], -abs(s[2] - 16)), default=None)


def fits(tile: Tile, p: Product, features: Features) -> bool:
    shape = shape_of(features, tile.part_cols)
    return (
        shape is not None
        and (not tile.warpgroups or shape == (16, 16, 16))
        and tile.part_rows // shape[0] * (tile.part_cols // shape[1]) <= MOST_SUMS
        and _has_room(tile, features)
        and tile.local(features) <= features.max_workgroup
        and p.n_inner % (GROUP * tile.groups) == 0
    )


def _has_room(tile: Tile, features: Features) -> bool:
    if tile.warpgroups:
        return tile.granted_nbytes + 8 * tile.cols <= features.warpgroup_nbytes
    return tile.shared_nbytes <= features.shared_nbytes


def for_products(node: Node, features: Features) -> Features:
    """What is left of shared memory beside the table of a type that looks codes up, see matrix_table.glsl; warpgroups
    take halves alone."""
    dtype, is_halved = node.inputs[0].dtype, node.inputs[-1].dtype is DType.F16
    table = 0 if dtype is DType.MXFP4 else shared_nbytes(dtype)
    if not table and (is_halved or not features.warpgroup_nbytes):
        return features
    granted = features.warpgroup_nbytes - table if is_halved else 0
    return replace(features, shared_nbytes=features.shared_nbytes - table, warpgroup_nbytes=granted)


def tile_for(p: Product, features: Features) -> Tile | None:
    """A tile of warpgroups if there are enough; else the largest one of which there are, else the smallest; of few
    columns as narrow a one as holds all."""
    if forced:
        return forced[0] if _has_room(forced[0], features) else None
    if p.n_cols > MOST_FEW and (tile := _warpgroup_tile(p, features)):
        return tile
    few = (*LARGE_FEW_TILES, *(NARROW_TILES if features.nvrtc else ()), *FEW_TILES)
    tiles = [t for t in (few if p.n_cols <= MOST_FEW else TILES) if fits(t, p, features)]
    if p.n_cols <= MOST_FEW:
        width = min((t.cols for t in tiles if t.cols >= p.n_cols), default=0)
        tiles = [t for t in tiles if t.cols == width]
    enough = (t for t in tiles if n_groups(t, p) >= WANTED_GROUPS // min(t.splits, 2))
    return next(enough, min(tiles, key=lambda t: t.rows * t.cols, default=None))


def _warpgroup_tile(p: Product, features: Features) -> Tile | None:
    tiles = [t for t in WARPGROUP_TILES if fits(t, p, features) and t.cols < 2 * p.n_cols]
    return next((t for t in tiles if n_groups(t, p) >= WANTED_WARPGROUPS), None)


def n_groups(tile: Tile, p: Product) -> int:
    return ceil_div(p.n_rows, tile.rows) * ceil_div(p.n_cols, tile.cols) * p.n_batch


def expert_tile(node: Node, p: Product, features: Features, n_rows: int, n_tokens: int) -> Tile | None:
    """n_rows: of a tile's weights, all in all. Routers spread tokens unevenly, so that large tiles win where the mean
    is but ten columns an expert; small models have too little work for them, and want tiles as high as most experts."""
    room, mean = for_products(node, features), p.n_batch / node.inputs[0].shape[0]
    if forced:
        return forced[0] if _has_room(forced[0], room) else None
    if n_tokens <= MOST_FEW and fits(FEW_EXPERT_TILE, p, room):
        return FEW_EXPERT_TILE
    tiles = [t for t in (*WARPGROUP_EXPERT_TILES, LARGE_TILE, *EXPERT_TILES) if fits(t, p, room)]
    large = next((t for t in tiles if t.cols == LARGE_TILE.cols), None)
    if large and ceil_div(n_rows, large.rows) * ceil_div(p.n_batch, large.cols) >= WANTED_LARGE:
        return large
    tiles = [t for t in tiles if t is not LARGE_TILE and t.warpgroups >= tiles[0].warpgroups]
    widest = max(tiles, key=lambda t: (t.cols, t.groups), default=None)
    return next((t for t in tiles if t.cols >= 1.3 * mean), widest)


def slices(n_row_tiles: int, n_tokens: int, tile: Tile) -> int:
    """Workgroups that share the columns of an expert, some of which get many; most have nothing to do and cost it."""
    if forced:
        return forced[1]
    return min(8 if n_row_tiles <= 8 else 4, ceil_div(n_tokens, tile.cols))


def constants_of(tile: Tile, features: Features) -> Constants:
    shape = shape_of(features, tile.part_cols)
    assert shape is not None
    m, n, k = shape
    return {
        **dict(local_size_x=tile.local(features), TILE_ROWS=tile.rows, TILE_COLS=tile.cols),
        **dict(GROUPS=tile.groups, PART_ROWS=tile.part_rows, PART_COLS=tile.part_cols),
        **dict(M=m, N=n, K=k, STAGES=tile.stages, SPLITS=tile.splits, AHEAD=tile.ahead),
        **dict(WARPGROUPS=int(tile.warpgroups), COPIES=tile.copies),
    }
