"""Kernels of mul_mat and mul_mat_id by cooperative matrices, for many columns: see matrix_tile.glsl.

Their operands are halves: the error of an output is about 1e-3 of its row's largest. Which tile for which shape: as
tools/reports/products.py measured on an H100.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Shape
from ...runtime.ir.tensor import Kind, Tensor
from ..kernel import Constants, Features, Kernel, KernelCall, Variant, grid_of, strides
from ..operands import FLOATS, INTS, WEIGHTS, Operand, Operands
from ..tables import shared_nbytes
from .mul_mat_args import Product, ceil_div, defines_of, in_words, is_aligned, lower_product, operands_of

FEWEST_COLS = 33  # of F32
MANY_ROWS = 4096  # of other types, from which fewer columns pay
MOST_FEW = 32  # columns, up to which FEW_TILES are for
FEWEST_HALVED = 1 << 18  # elements of a weight whose input is halved beforehand
FEWEST_PRODUCTS = 1 << 24  # multiplications of an op, below which nothing is gained
WANTED_GROUPS = 240  # workgroups that keep a large GPU busy: two a processor, or one of several teams
WANTED_WARPGROUPS = 120  # of WARPGROUP_TILES, nearly one a processor
WANTED_LARGE = 480  # of LARGE_TILE, of which four fit one
PLAIN = (DType.F32, DType.F16, DType.BF16)
# with another kernel for rows that start at whole 16 bytes
BY_GROUPS = (*PLAIN, DType.Q4_0, DType.Q8_0, DType.Q6_K, DType.IQ4_NL, DType.MXFP4)
ALWAYS_BY_GROUPS = (DType.Q4_K, DType.Q5_K)  # whose blocks are whole 16 bytes
Lower = Callable[[Node, Features], KernelCall]
Rule = Callable[[Node, Features], str]
GROUP = 32  # elements of dequant.glsl's groups


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a workgroup's tile and of each subgroup's part of it; groups of 32 elements a stage; stages
    of a team in shared memory, teams that share all stages, and stages of a team in registers. `warpgroups`: four
    subgroups multiply as one."""

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
WARPGROUP_TILES = (  # for halves, the largest first
    Tile(128, 128, 2, 16, 128, warpgroups=True),
    Tile(128, 64, 2, 16, 64, warpgroups=True),
)
WARPGROUP_EXPERT_TILES = (
    Tile(128, 32, 2, 32, 32, warpgroups=True),
    Tile(128, 48, 2, 32, 48, warpgroups=True),
    Tile(128, 64, 2, 32, 64, warpgroups=True),
)
FEW_EXPERT_TILE = Tile(128, 16, 2, 32, 16, 1)  # of at most MOST_FEW tokens
LARGE_TILE = Tile(128, 48, 2, 32, 48, 1)  # of experts, where there are enough of it
MOST_SUMS = 32  # matrices of a subgroup, which matrix_tile.glsl writes out
forced: tuple[Tile, int] | None = None  # a tile and slices to take whatever the shape, for those who measure


def _shape_of(features: Features, most_cols: int = 16) -> tuple[int, int, int] | None:
    """The kind of cooperative matrix to use: every part of a tile, of `most_cols` or a multiple, is whole ones."""
    cols = [n for n in (8, 16) if n <= most_cols]
    fits = (s for s in features.cooperative_matrix if s[0] in (8, 16) and s[1] in cols and s[2] in (8, 16, 32))
    return max(fits, key=lambda s: (s[0] * s[1], -abs(s[2] - 16)), default=None)


def _for_matrices(features: Features) -> str:
    fits = _shape_of(features) is not None and features.float16 and features.subgroup_size
    return "" if fits else "matrices: for devices with cooperative matrices of halves"


def _worth(n: int) -> str:
    return f"matrices: {n} products, at least {FEWEST_PRODUCTS}" if n < FEWEST_PRODUCTS else ""


def _fits(tile: Tile, p: Product, features: Features) -> bool:
    shape = _shape_of(features, tile.part_cols)
    return (
        shape is not None
        and tile.part_rows // shape[0] * (tile.part_cols // shape[1]) <= MOST_SUMS
        and _has_room(tile, features)
        and tile.local(features) <= features.max_workgroup
        and p.n_inner % (GROUP * tile.groups) == 0
    )


def _has_room(tile: Tile, features: Features) -> bool:
    if tile.warpgroups:
        return tile.granted_nbytes + 8 * tile.cols <= features.warpgroup_nbytes
    return tile.shared_nbytes <= features.shared_nbytes


def _rule(node: Node, features: Features) -> str:
    p, w = operands_of(node), node.inputs[0]
    if p.n_cols < (fewest := fewest_cols(w, p.n_rows, features)):
        return f"matrices: {p.n_cols} columns, at least {fewest}"
    if p.n_batch > 1 and not w.dtype.is_quantised:  # no model's weights, but what was computed: halves would lose it
        return f"matrices: {p.n_batch} products of {w.dtype.name} side by side"
    n = p.n_rows * p.n_cols * p.n_batch * p.n_inner
    return _for_matrices(features) or _worth(n) or _refuses_tile(_tile(node, p, features), p, features)


def fewest_cols(w: Tensor, n_rows: int, features: Features) -> int:
    """Columns from which matrices pay, of which all but one or two are multiplied for nothing."""
    if w.dtype is DType.F32:
        return FEWEST_COLS
    return features.tuning.few_cols if n_rows >= MANY_ROWS else features.tuning.some_cols


def takes_few(weights: Sequence[Tensor], n_cols: int, features: Features) -> bool:
    """Are most rows of these weights better multiplied by matrices, each weight by itself?"""
    n_rows, n_inner = sum(w.shape[0] for w in weights), weights[0].shape[-1]
    many = n_cols >= fewest_cols(weights[0], n_rows, features) and n_rows * n_cols * n_inner >= FEWEST_PRODUCTS
    return many and n_inner % (8 * GROUP) == 0 and not _for_matrices(features)


def takes_experts(w: Tensor, n_tokens: int, n_slots: int, features: Features) -> bool:
    """Are an expert's rows better read once for all of its tokens, in lists and by matrices, than for each token?"""
    return not _refuses_experts(w, (n_tokens, n_slots), features)


def _refuses_experts(w: Tensor, picked: Shape, features: Features) -> str:
    """picked: tokens, and experts of each."""
    n = prod((*picked, *w.shape[1:]))
    if picked[0] < (fewest := features.tuning.expert_tokens):
        return f"matrices: {picked[0]} tokens, at least {fewest}"
    return _for_matrices(features) or _worth(n)


def _refuses_tile(tile: Tile | None, p: Product, features: Features) -> str:
    limits = f"{features.shared_nbytes} bytes of shared memory, {features.max_workgroup} invocations"
    return "" if tile else f"matrices: rows of {p.n_inner}, {limits}"


def _tile(node: Node, p: Product, features: Features) -> Tile | None:
    return tile_for(p, _for_products(node, features))


def _for_products(node: Node, features: Features) -> Features:
    """What is left of shared memory beside the table of a type that looks codes up, see matrix_table.glsl; warpgroups
    take halves alone."""
    dtype, is_halved = node.inputs[0].dtype, node.inputs[-1].dtype is DType.F16
    table = 0 if dtype is DType.MXFP4 else shared_nbytes(dtype)
    if not table and (is_halved or not features.warpgroup_nbytes):
        return features
    granted = features.warpgroup_nbytes - table if is_halved else 0
    return replace(features, shared_nbytes=features.shared_nbytes - table, warpgroup_nbytes=granted)


def tile_for(p: Product, features: Features) -> Tile | None:
    """The largest tile of which there are enough, else the smallest; of few columns as narrow a one as holds all."""
    if forced and _has_room(forced[0], features):
        return forced[0]
    if p.n_cols > MOST_FEW and (tile := _warpgroup_tile(p, features)):
        return tile
    few = (*LARGE_FEW_TILES, *(NARROW_TILES if features.nvrtc else ()), *FEW_TILES)
    tiles = [t for t in (few if p.n_cols <= MOST_FEW else TILES) if _fits(t, p, features)]
    if p.n_cols <= MOST_FEW:
        width = min((t.cols for t in tiles if t.cols >= p.n_cols), default=0)
        tiles = [t for t in tiles if t.cols == width]
    enough = (t for t in tiles if _n_groups(t, p) >= WANTED_GROUPS // min(t.splits, 2))
    return next(enough, min(tiles, key=lambda t: t.rows * t.cols, default=None))


def _warpgroup_tile(p: Product, features: Features) -> Tile | None:
    tiles = [t for t in WARPGROUP_TILES if _fits(t, p, features)]
    return next((t for t in tiles if _n_groups(t, p) >= WANTED_WARPGROUPS), None)


def _n_groups(tile: Tile, p: Product) -> int:
    return ceil_div(p.n_rows, tile.rows) * ceil_div(p.n_cols, tile.cols) * p.n_batch


def _spec(tile: Tile, features: Features) -> Constants:
    shape = _shape_of(features, tile.part_cols)
    assert shape is not None
    m, n, k = shape
    return {
        **dict(local_size_x=tile.local(features), TILE_ROWS=tile.rows, TILE_COLS=tile.cols),
        **dict(GROUPS=tile.groups, PART_ROWS=tile.part_rows, PART_COLS=tile.part_cols),
        **dict(M=m, N=n, K=k, STAGES=tile.stages, SPLITS=tile.splits, AHEAD=tile.ahead),
        "WARPGROUPS": int(tile.warpgroups),
        "COPIES": tile.copies,
    }


def _lower(node: Node, features: Features) -> KernelCall:
    p = operands_of(node)
    tile = _tile(node, p, features)
    assert tile is not None
    plain, (w, x, *halves) = replace(node, inputs=node.inputs[:2]), node.inputs
    constants = {**_spec(tile, features), "CONSTANT": int(w.storage.kind is Kind.WEIGHT)}
    call = lower_product(plain, "mul_mat_matrix", _flags(w), _n_groups(tile, p), constants)
    return _halved(replace(call, shared_nbytes=tile.granted_nbytes), x, *halves)


def _halved(call: KernelCall, x: Tensor, halves: Tensor | None = None) -> KernelCall:
    """With x as halves, or without."""
    return replace(
        call,
        buffers={**call.buffers, "x_halves": x if halves is None else halves},
        arguments={**call.arguments, "halves_at": halves or 0},
        constants={**call.constants, "HALVED": int(halves is not None)},
    )


def _flags(*weights: Tensor) -> tuple[str, ...]:
    """Of weights of one type."""
    return ("BY_GROUPS",) if weights[0].dtype in BY_GROUPS and all(map(_by_groups, weights)) else ()


def _by_groups(w: Tensor) -> bool:
    """Are weights loaded 16 bytes at a time, as every row starts at a multiple of that?"""
    return w.dtype in ALWAYS_BY_GROUPS or (w.dtype in BY_GROUPS and is_aligned(w))


def _expert_tile(node: Node, p: Product, features: Features, n_rows: int) -> Tile | None:
    """n_rows: of a tile's weights, all in all. Routers spread tokens unevenly, so that large tiles win where the mean
    is but ten columns an expert; small models have too little work for them, and want tiles as high as most experts."""
    room, mean = _for_products(node, features), p.n_batch / node.inputs[0].shape[0]
    if forced and _has_room(forced[0], room):
        return forced[0]
    if _n_tokens(node) <= MOST_FEW and _fits(FEW_EXPERT_TILE, p, room):
        return FEW_EXPERT_TILE
    together = [t for t in WARPGROUP_EXPERT_TILES if _fits(t, p, room)]
    large = next((t for t in (*together, LARGE_TILE) if t.cols == LARGE_TILE.cols), LARGE_TILE)
    n_large = ceil_div(n_rows, large.rows) * ceil_div(p.n_batch, large.cols)
    if n_large >= WANTED_LARGE and _fits(large, p, room):
        return large
    tiles = together or [t for t in EXPERT_TILES if _fits(t, p, room)]
    widest = max(tiles, key=lambda t: (t.cols, t.groups), default=None)
    return next((t for t in tiles if t.cols >= 1.3 * mean), widest)


def _lists_rule(node: Node, features: Features) -> str:
    p, (w, _x, ids, *_more) = operands_of(node), node.inputs
    tile = _expert_tile(node, p, features, p.n_rows)
    return _refuses_experts(w, ids.shape, features) or _refuses_tile(tile, p, features)


def _lower_lists(node: Node, features: Features) -> KernelCall:
    (w, x, _ids, lists, *halves), (y,) = node.inputs, node.outputs
    p, n_experts = operands_of(node), w.shape[0]
    tile = _expert_tile(node, p, features, p.n_rows)
    assert tile is not None
    slices = _slices(ceil_div(p.n_rows, tile.rows), _n_tokens(node), tile)
    starts = {"w_at": w, "x_at": x, "ids_at": lists, "y_at": y}
    arguments = {**p.arguments, **starts, "ids_batch0": 0, "ids_batch1": 0, "n_experts": n_experts}
    grid = grid_of(ceil_div(p.n_rows, tile.rows) * n_experts * slices)
    defines, buffers = defines_of(w.dtype, "mul_mat_id", *_flags(w)), {"weights": w, "x": x, "ids": lists, "y": y}
    constants = {**_spec(tile, features), "SLICES": slices}
    call = KernelCall("mul_mat_id_matrix", defines, buffers, arguments, grid, constants, tile.granted_nbytes)
    return _halved(call, x, *halves)


def _swiglu_rule(node: Node, features: Features) -> str:
    p, (w, _up, _x, ids, *_more) = operands_of(_as_product(node)), node.inputs
    tile = _expert_tile(node, p, features, 2 * p.n_rows)
    why = _refuses_experts(w, ids.shape, features) or _refuses_tile(tile, p, features)
    if why or tile is None:
        return why
    is_whole = all(map(_by_groups, node.inputs[:2])) and w.dtype is not DType.F32
    n_items, local = tile.rows * tile.groups * (1 if is_whole else 2), tile.local(features) // tile.splits
    return "" if n_items % (2 * local) == 0 else f"matrices: {n_items} loads, not as many a weight by {local}"


def _as_product(node: Node) -> Node:
    """The product with the gate alone."""
    gate, _up, *rest = node.inputs
    return replace(node, op="mul_mat_id", inputs=(gate, *rest))


def _lower_swiglu(node: Node, features: Features) -> KernelCall:
    (gate, up, x, _ids, lists, *halves), (y,) = node.inputs, node.outputs
    p, n_experts = operands_of(_as_product(node)), gate.shape[0]
    tile = _expert_tile(node, p, features, 2 * p.n_rows)
    assert tile is not None
    arguments = {
        **dict(n_rows=p.n_rows, n_inner=p.n_inner, n_experts=n_experts, n_batch1=p.batch[1], ids_at=lists),
        **strides("gate", (gate, *in_words(gate).strides), "at expert row"),
        **strides("up", (up, *in_words(up).strides), "at expert row"),
        **strides("x", (x, *p.x.strides), "at batch0 batch1"),
        **dict(y_at=y, y_batch0=p.y.strides[0], y_batch1=p.y.strides[1], y_inner=p.y.strides[3]),
    }
    row_tiles = ceil_div(p.n_rows, tile.rows // 2)
    slices = _slices(row_tiles, _n_tokens(node), tile)
    constants = {**_spec(tile, features), "SLICES": slices}
    buffers = {"gate_words": gate, "up_words": up, "x_quads": x, "ids": lists, "y": y}
    defines, grid = defines_of(gate.dtype, "mul_mat", *_flags(gate, up)), grid_of(row_tiles * n_experts * slices)
    call = KernelCall("mul_mat_id_swiglu", defines, buffers, arguments, grid, constants, tile.granted_nbytes)
    return _halved(call, x, *halves)


def _n_tokens(node: Node) -> int:
    """Of a product of experts, by its ids: no token picks an expert twice."""
    return node.inputs[2 if node.op == "mul_mat_id" else 3].shape[0]


def _slices(n_row_tiles: int, n_tokens: int, tile: Tile) -> int:
    """Workgroups that share the columns of an expert, some of which get many; most have nothing to do and cost it."""
    if forced:
        return forced[1]
    return min(8 if n_row_tiles <= 8 else 4, ceil_div(n_tokens, tile.cols))


def _variants(op: str, stem: str) -> tuple[Variant, ...]:
    narrow = tuple((stem, defines_of(t, op)) for t in WEIGHTS.dtypes)
    return (*narrow, *((stem, defines_of(t, op, "BY_GROUPS")) for t in BY_GROUPS))


_X, _LISTS = FLOATS.rows.aligned(4), {"ids": INTS, "lists": INTS.contiguous}
_WAYS: tuple[tuple[str, Operands, Lower, tuple[Variant, ...], Rule], ...] = (
    ("mul_mat", {"w": WEIGHTS.rows, "x": _X}, _lower, _variants("mul_mat", "mul_mat_matrix"), _rule),
    (
        "mul_mat_id",
        {"w": WEIGHTS.rows, "x": _X, **_LISTS},
        _lower_lists,
        _variants("mul_mat_id", "mul_mat_id_matrix"),
        _lists_rule,
    ),
    (
        "mul_mat_id_swiglu",
        {"gate": WEIGHTS.rows, "up": WEIGHTS.rows.typed_as("gate"), "x": _X, **_LISTS},
        _lower_swiglu,
        _variants("mul_mat", "mul_mat_id_swiglu"),
        _swiglu_rule,
    ),
)


def _with_halves(takes: Operands) -> Operands:
    return {**takes, "x": _X.contiguous, "halves": Operand((DType.F16,)).contiguous.aligned(8)}


def _worth_halving(rule: Rule) -> Rule:
    """Small weights are not worth a dispatch more, and those of few rows read x only once or twice."""

    def why(node: Node, features: Features) -> str:
        m, k = node.inputs[0].shape[-2:]
        return (
            f"halves: a weight of {m} x {k}, at least {FEWEST_HALVED}"
            if m * k < FEWEST_HALVED
            else rule(node, features)
        )

    return why


def _lower_halves(node: Node, _features: Features) -> KernelCall:
    (x,), (y,) = node.inputs, node.outputs
    n = x.layout.n_elements // 8
    arguments = {"n_octets": n, "x_at": x, "y_at": y}
    return KernelCall("halves", (), {"x": x, "y": y}, arguments, grid_of(ceil_div(n, 64)))


PRODUCT, *_BY_EXPERTS = (
    Kernel(op, takes, {"y": FLOATS}, lower, variants, rule) for op, takes, lower, variants, rule in _WAYS
)
KERNELS = (
    PRODUCT,
    *_BY_EXPERTS,
    *(
        Kernel(op, _with_halves(takes), {"y": FLOATS}, lower, variants, _worth_halving(rule))
        for op, takes, lower, variants, rule in _WAYS
    ),
    Kernel(
        "halves",
        {"x": _X.contiguous},
        {"y": Operand((DType.F16,)).contiguous.aligned(8)},
        _lower_halves,
        (("halves", ()),),
    ),
)
