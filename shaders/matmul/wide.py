"""The host's side of wide.glsl: products of rows and few columns on GPUs with subgroups."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Kind, Tensor
from ..kernel import Constants, Features
from ..tables import shared_nbytes
from .mul_mat_args import ceil_div, even_tile, is_aligned

PIECE = 32  # numbers of a row that an invocation takes at a time
PIECE_NBYTES = 128  # of a column in shared memory
SPARE_NBYTES = 4096  # of shared memory, for sums
FEWEST = 8  # invocations of a subgroup
WHOLE = 1024  # invocations of a workgroup that has a processor to itself
FEW_ROWS, SOME_ROWS, MANY_ROWS, MOST_ROWS = 1024, 2048, 4096, 16384
MOST_COLS, MOST_COLS_SHORT = 8, 4  # of a tile: of types whose numbers take long to make, and of others
FEW_COLS, SOME_COLS = 4, 8  # columns, or tokens, up to which tiles are other ones
MOST_GROUPS = 528  # of one column: more tiles than that come several to a workgroup, so that columns are held once
MANY_TILES = 4  # of a workgroup at most where several tokens bring more than enough of them
MOST_GROUPS_WHOLE = 132  # of so many invocations that one a processor is enough


forced: dict[str, "WideTile"] = {}  # by "N rows", "experts" or "joined", whatever the columns, for those who measure


@dataclass(frozen=True)
class WideTile:
    """Invocations of a workgroup and of a row, rows of each, columns, and turns of each in what is held."""

    local: int
    rows: int
    cols: int
    along: int
    steps: int
    most: int = 1 << 30  # workgroups, where fewer tiles than that are left one to each

    @property
    def tile_rows(self) -> int:
        """Rows of a workgroup."""
        return self.local // self.along * self.rows

    def runs(self, n_tiles: int) -> tuple[int, int]:
        """Workgroups for so many tiles, and the tiles that each takes one after the other."""
        run = ceil_div(n_tiles, self.most)
        return ceil_div(n_tiles, run), run

    def run_of_experts(self, n_tiles: int, n_tokens: int) -> int:
        """Tiles that a workgroup takes one after the other, of so many of each token's experts."""
        return max(self.runs(n_tiles)[1], min(MANY_TILES, ceil_div(n_tokens * n_tiles, 2 * MOST_GROUPS)))

    def spec(
        self,
        weights: Sequence[Tensor],
        columns: Sequence[Tensor],
        features: Features,
        run: int = 1,
        factors: Sequence[Tensor] = (),
    ) -> Constants:
        """factors: what columns are multiplied by, known as long as weights."""
        return {
            **dict(local_size_x=self.local, ROWS=self.rows, COLS=self.cols, ALONG=self.along),
            **dict(STEPS=self.steps, ALIGNED=int(all(map(is_aligned, weights))), SUBGROUP=features.subgroup_size),
            **dict(X_ALIGNED=int(all(map(_begins_at_quads, (*columns, *factors))))),
            **dict(RUN=run, CONSTANT=int(all(w.storage.kind is Kind.WEIGHT for w in (*weights, *factors)))),
        }


def takes_wide(features: Features, *n_inner: int) -> bool:
    """Is this a GPU with subgroups, and are rows whole pieces?"""
    return features.subgroup_size >= FEWEST and not features.software and not any(n % PIECE for n in n_inner)


def wide_tile(n_rows: int, n_cols: int, n_inner: int, features: Features, dtype: DType = DType.F32) -> WideTile:
    """As measured on an H100 and an H200 (tools/reports/tiles.py)."""
    if tile := forced.get(f"{n_rows} rows"):
        return tile
    size = features.subgroup_size
    if size < 16:
        return WideTile(2 * size, 2, 1, size, 1, 3)  # software drivers take long to compile more
    if n_cols > 1:
        return _several_columns(n_rows, n_cols, n_inner // PIECE, features, dtype)
    n_pieces = n_inner // PIECE
    is_long = n_pieces > 2 * size
    if n_rows >= MOST_ROWS and dtype.is_quantised:
        return _whole_tile(512, 4, n_pieces, features, dtype)
    if n_rows >= MANY_ROWS and is_long and _wants_all(dtype) and features.max_workgroup >= WHOLE:
        return _whole_tile(WHOLE, 1, n_pieces, features, dtype)
    if n_rows >= MANY_ROWS:
        return _whole_tile(512, 2, n_pieces, features, dtype)
    few = n_rows <= FEW_ROWS
    along = 2 * size if (is_long or few) and _held(features, dtype) > 2 * size else size
    rows = 1 if n_rows <= (SOME_ROWS if along > size else FEW_ROWS) else 2
    many = 1024 if rows == 1 and not features.nvrtc else 512
    local = _local(256 if few or along == size else many, along, features)
    return WideTile(local, rows, 1, along, _steps(n_pieces, along, features, dtype), MOST_GROUPS)


def _several_columns(n_rows: int, n_cols: int, n_pieces: int, features: Features, dtype: DType) -> WideTile:
    size, held = features.subgroup_size, _held(features, dtype)
    along, steps, most, rows = size, 1, MOST_COLS if dtype.block == 256 else MOST_COLS_SHORT, 2
    if n_rows <= FEW_ROWS and not dtype.is_quantised:  # else there were workgroups for half of a large GPU
        rows = 1
        if n_cols <= SOME_COLS:
            along, steps, most = (2 * size, 1, 2) if n_cols <= FEW_COLS else (size, 2, 2)
    elif n_rows <= SOME_ROWS and n_pieces > 2 * size and n_cols <= FEW_COLS:
        along = 2 * size
    elif n_rows > MANY_ROWS and n_cols >= (FEW_COLS if features.nvrtc else FEW_COLS + 1):
        rows = 4
    if held // (along * steps + 1) < min(most, n_cols):
        along, steps = size, 1
    cols = even_tile(n_cols, max(1, min(most, held // (along * steps + 1))))
    return WideTile(_local(256, along, features), rows, cols, along, steps)


def _whole_tile(local: int, rows: int, n_pieces: int, features: Features, dtype: DType) -> WideTile:
    """Of many rows: a workgroup a processor, so that columns are held once there."""
    along = features.subgroup_size
    turns, at_once = ceil_div(n_pieces, along), _steps(n_pieces, along, features, dtype)
    steps = ceil_div(turns, ceil_div(turns, at_once))
    return WideTile(_local(local, along, features), rows, 1, along, steps, MOST_GROUPS_WHOLE)


def wide_experts(n_inner: int, features: Features, dtype: DType) -> WideTile:
    """Of a row of an expert's gate and one of its up, or of two of one, for each of a token's."""
    if tile := forced.get("experts"):
        return tile
    size, n_pieces = features.subgroup_size, n_inner // PIECE
    if size < 16:
        return WideTile(2 * size, 2, 1, size, 1, 3)
    is_short = n_pieces <= 2 * size
    if not is_short and _wants_all(dtype) and features.max_workgroup >= WHOLE:
        return _whole_tile(WHOLE, 2, n_pieces, features, dtype)
    if is_short or -n_pieces % (2 * size) >= max(size, n_pieces // 8):  # else a subgroup of two would go idle
        return WideTile(_local(256, size, features), 2, 1, size, _steps(n_pieces, size, features, dtype), MOST_GROUPS)
    along = 2 * size if _held(features, dtype) > 2 * size else size
    return WideTile(_local(512, along, features), 2, 1, along, _steps(n_pieces, along, features, dtype), MOST_GROUPS)


def wide_joined(n_rows: int, n_inner: int, n_tokens: int, features: Features, dtype: DType) -> WideTile:
    """Of few long rows, all held at once."""
    if tile := forced.get("joined"):
        return tile
    size, n_pieces = features.subgroup_size, ceil_div(n_inner, PIECE)
    if size < 16:
        return WideTile(_local(size, size, features), 1, 1, size, _steps(n_pieces, size, features, dtype))
    along = 2 * size if n_tokens == 1 and size <= 32 else size
    if n_tokens == 1 and not features.nvrtc:
        local, rows = WHOLE if _wants_all(dtype) else 512, 1
    elif n_tokens < FEW_COLS:
        local, rows = 512, 2
    else:
        local, rows = (512, 4) if features.nvrtc else (1024, 2)
    steps = _steps(n_pieces, along, features, dtype)
    sizes = (local,) if n_tokens == 1 else (local, local * 3 // 4)
    tiles = [WideTile(_local(n, along, features), rows, 1, along, steps) for n in sizes]
    return min(tiles, key=lambda t: _rows_of_processor(t, n_rows, n_tokens))


def _rows_of_processor(tile: WideTile, n_rows: int, n_tokens: int) -> int:
    """That the one with most of them computes, where workgroups are of one token each."""
    return ceil_div(ceil_div(n_rows, tile.tile_rows) * n_tokens, MOST_GROUPS_WHOLE) * tile.tile_rows


def _wants_all(dtype: DType) -> bool:
    """Of K-quants, whose kernels take the most registers: as many subgroups as there can be, of long rows one each."""
    return dtype.block == 256 and not dtype.is_rare


def _steps(n_pieces: int, along: int, features: Features, dtype: DType) -> int:
    """Turns of `along` invocations whose share of a column fits into shared memory, of those that all of it takes."""
    return max(1, min(ceil_div(n_pieces, along), (_held(features, dtype) - 1) // along))


def _held(features: Features, dtype: DType) -> int:
    """Pieces that fit into shared memory."""
    return (features.shared_nbytes - SPARE_NBYTES - shared_nbytes(dtype)) // PIECE_NBYTES


def _local(wanted: int, along: int, features: Features) -> int:
    return max(1, min(wanted, features.max_workgroup) // along) * along


def _begins_at_quads(x: Tensor) -> bool:
    return not any(n % 4 for n in (*x.layout.strides[:-1], x.layout.offset))
