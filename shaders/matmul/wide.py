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
FEW_ROWS, SOME_ROWS, MANY_ROWS = 1024, 2048, 4096
MOST_COLS, MOST_COLS_SHORT = 8, 4  # of types whose numbers take long to make, and of others
MOST_GROUPS = 528  # of one column: more tiles than that come several to a workgroup, so that columns are held once
MOST_GROUPS_WHOLE = 132  # of as many invocations as there can be: one a processor
MOST_GROUPS_NORMED = 264  # likewise where columns are normed on their way, of which fewer are resident at once


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
    """As measured on an H100."""
    size, n_pieces, few = features.subgroup_size, n_inner // PIECE, n_rows <= FEW_ROWS
    if size < 16:
        return WideTile(2 * size, 2, 1, size, 1, 3)  # software drivers take long to compile more
    if n_cols > 1:
        most = MOST_COLS if dtype.block == 256 else MOST_COLS_SHORT
        cols = even_tile(n_cols, max(1, min(most, _held(features, dtype) // (size + 1))))
        if few and not dtype.is_quantised:  # else there were workgroups for half of a large GPU
            along = 2 * size if features.nvrtc and n_cols <= MOST_COLS else size
            return WideTile(_local(256, along, features), 1, cols, along, 1)
        return WideTile(_local(256, size, features), 4 if n_cols > 4 and n_rows > MANY_ROWS else 2, cols, size, 1)
    is_long = n_rows >= MANY_ROWS and n_pieces > 2 * size
    if is_long and dtype.block == 256 and not dtype.is_rare and features.max_workgroup >= WHOLE:
        return _whole_tile(n_pieces, features, dtype)
    along = size if n_pieces <= 2 * size and not few else 2 * size
    steps = max(1, min(ceil_div(n_pieces, along), (_held(features, dtype) - 1) // along))
    local = _local(512 if along > size and not few else 256, along, features)
    rows = 1 if n_rows <= (SOME_ROWS if along > size else FEW_ROWS) else 2
    return WideTile(local, rows, 1, along, steps, MOST_GROUPS)


def _whole_tile(n_pieces: int, features: Features, dtype: DType) -> WideTile:
    """Of many long rows of K-quants, whose kernels would take too many registers for others to be resident beside them:
    columns are held once a processor, and one row an invocation is little enough for 1024 of them."""
    along, at_once = features.subgroup_size, (_held(features, dtype) - 1) // features.subgroup_size
    turns = ceil_div(n_pieces, along)
    return WideTile(WHOLE, 1, 1, along, ceil_div(turns, ceil_div(turns, max(1, at_once))), MOST_GROUPS_WHOLE)


def wide_joined(n_inner: int, n_tokens: int, features: Features, dtype: DType) -> WideTile:
    """Of few long rows, all held at once."""
    size, one = features.subgroup_size, n_tokens == 1
    along = 2 * size if one and 16 <= size <= 32 else size
    steps = max(1, min(ceil_div(ceil_div(n_inner, PIECE), along), (_held(features, dtype) - 1) // along))
    local, rows = (512, 1) if one else (256, 2)
    return WideTile(_local(local if size >= 16 else size, along, features), rows if size >= 16 else 1, 1, along, steps)


def _held(features: Features, dtype: DType) -> int:
    """Pieces that fit into shared memory."""
    return (features.shared_nbytes - SPARE_NBYTES - shared_nbytes(dtype)) // PIECE_NBYTES


def _local(wanted: int, along: int, features: Features) -> int:
    return max(1, min(wanted, features.max_workgroup) // along) * along


def _begins_at_quads(x: Tensor) -> bool:
    return not any(n % 4 for n in (*x.layout.strides[:-1], x.layout.offset))
