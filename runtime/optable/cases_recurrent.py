"""Cases of the op table: the delta net and its convolution."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple

import numpy as np

from ..ir import composites  # noqa: F401  (whose ops these are)
from ..ir.composites.slots import SPAN, n_spans
from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Case, Fill, Operand, normal, uniform, values
from .views import (
    VIEWS,
    Make,
    flat_offset,
    one_inf,
    outer_cut,
    outer_permuted,
    permuted,
    plain,
    rows_apart,
    stepped,
    swapped,
    transpose,
)

I32 = DType.I32
INF, NAN = float("inf"), float("nan")
ROWS: tuple[Make, ...] = (plain, rows_apart, outer_cut, outer_permuted, flat_offset)


def view_name(make: Make) -> str:
    return next(name for name, known in VIEWS.items() if known is make)


def leaning(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Keys and queries that are never nearly orthogonal: then o = d (k q) vanishes, and its rounding errors do not."""
    return 2 + normal(rng, shape)


def fixed_ids(*ids: int) -> Fill:
    return lambda _rng, shape: np.array(ids, np.int32).reshape(shape)


class Batch(NamedTuple):
    """Sequences of n_tokens tokens, of which `valid` count, in these of n_slots slots, and the slots of snapshots."""

    n_tokens: int
    valid: tuple[int, ...]
    slots: tuple[int, ...]
    n_slots: int
    snapshots: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        text = f"{self.n_tokens} tokens, valid {self.valid}, slots {self.slots} of {self.n_slots}"
        return text + (f", snapshots {self.snapshots}" if self.snapshots else "")

    def ids(self) -> np.ndarray:
        """[B], or with snapshots [B, 1 + S]."""
        own = np.array(self.slots)
        return np.column_stack([own, np.array(self.snapshots)]) if self.snapshots else own

    def ends(self) -> np.ndarray:
        """After how many tokens each of the ids gets its state."""
        valid = np.array(self.valid)
        spans = [np.minimum(SPAN * (i + 1), valid) for i in range(n_spans(self.n_tokens))]
        return np.column_stack([valid, *spans]) if self.snapshots else valid


ONE = Batch(1, (1,), (0,), 1)
BATCHES: tuple[Batch, ...] = (
    ONE,
    Batch(1, (1, 1, 1), (2, 0, 1), 3),
    Batch(1, (1, 0, 1), (3, -1, 1), 4),
    Batch(2, (2,), (1,), 2),
    Batch(7, (7, 3), (1, 2), 3),
    Batch(33, (33, 0, 20), (2, -1, 5), 5),
    Batch(65, (65,), (0,), 1),
    Batch(100, (64, 100), (3, 1), 4),
)
SNAPSHOTS: tuple[Batch, ...] = (
    Batch(1, (1, 1), (0, 3), 6, ((5,), (-1,))),
    Batch(70, (70, 30), (1, 0), 6, ((2, 3), (4, -1))),
    Batch(130, (130, 64), (6, 2), 8, ((0, -1, 7), (99, -1, -1))),
)
LONG: tuple[Batch, ...] = (
    Batch(64, (64,), (0,), 1),
    Batch(128, (128, 63, 65), (2, -1, 1), 3),
    Batch(200, (190, 0), (0, 1), 2),
)
MANY = Batch(6, tuple(b % 7 for b in range(32)), tuple(-1 if b == 5 else 33 - b for b in range(32)), 34)


def _conv(batch: Batch, n_channels: int, n_taps: int, make: Make, state: Make = plain, ids: Make = plain) -> Case:
    n_seqs = len(batch.slots)
    tails = batch.ends()[..., None] + np.arange(n_taps - 1)
    operands = (
        make((n_seqs, batch.n_tokens, n_channels)),
        make((n_channels, n_taps)),
        state((batch.n_slots, (n_taps - 1) * n_channels)),
        slots_of(batch, ids),
        plain(tails.shape, I32, fixed_ids(*tails.reshape(-1).tolist())) if make is plain else _columns(tails),
    )
    what = f"{n_channels} channels, {n_taps} taps, {view_name(make)}, {batch}"
    return Case("causal_conv", what, operands, {}, make in (rows_apart, stepped))


def in_storage(make: Make, fill: Fill) -> Fill:
    """Ids for a storage that is larger than the view: flat_offset's starts at its eighth element."""
    if make is plain:
        return fill

    def padded(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        ids = fill(rng, (shape[0] - 9,))
        return np.concatenate([np.full(7, -9), ids, np.full(shape[0] - 7 - len(ids), -9)]).astype(np.int32)

    return padded


def _columns(ids: np.ndarray) -> Operand:
    """The ids transposed in their storage."""
    axes = range(ids.ndim)[::-1]
    return Operand(
        ids.T.shape, I32, lambda t: t.permute(*axes), lambda _rng, shape: ids.T.reshape(shape).astype(np.int32)
    )


def slots_of(batch: Batch, make: Make) -> Operand:
    ids = batch.ids()
    return make(ids.shape, I32, in_storage(make, fixed_ids(*batch.slots))) if ids.ndim == 1 else _columns(ids)


def _convs() -> Iterator[Case]:
    makes = cycle((plain, rows_apart, permuted, stepped, outer_permuted, flat_offset, outer_cut))
    sizes = cycle(((1, 4), (65, 4), (100, 4), (33, 2), (257, 3), (63, 8), (128, 4)))
    for batch, _ in zip(cycle(BATCHES), range(24), strict=False):
        make, (n_channels, n_taps) = next(makes), next(sizes)
        ids = flat_offset if make is rows_apart else plain
        yield _conv(batch, n_channels, n_taps, make, outer_cut if make is outer_permuted else make, ids)
    for batch, make in zip(SNAPSHOTS, (plain, permuted, rows_apart), strict=True):
        yield _conv(batch, 65, 4, make)
    for batch, make, linear in zip(
        BATCHES[1:], cycle((plain, permuted, rows_apart)), cycle((True, False)), strict=False
    ):
        plainly = _conv(batch, 33, 3, make)
        more = {"extra": ("bias",), "linear": linear}
        given = (*plainly.operands, make((33,)) if make is plain else stepped((33,)))
        yield replace(plainly, what=f"{plainly.what}, bias, linear {linear}", operands=given, attrs=more)
        yield replace(plainly, what=f"{plainly.what}, linear", attrs={"linear": True})
    edges = (plain((1, 9, 3), fill=values(1, INF, -1, 2, NAN, 3, -100, 1e-40, 90)), plain((3, 4), fill=uniform(0.5, 1)))
    ids = plain((1,), I32, fixed_ids(0)), plain((1, 3), I32, fixed_ids(9, 10, 11))
    yield Case("causal_conv", "edge values", (*edges, plain((1, 9)), *ids), {}, strided_out=True)
    wild = plain((1, 3), I32, fixed_ids(-5, 99, 2))
    yield Case("causal_conv", "tails outside", (rows_apart((1, 9, 3)), plain((3, 4)), plain((1, 9)), ids[0], wild))


def _net(
    batch: Batch, heads: tuple[int, int], dim: int, make: Make, state: Make, ids: Make = plain
) -> tuple[Operand, ...]:
    n_seqs, (n_keys, n_values) = len(batch.slots), heads
    shape = n_seqs, batch.n_tokens
    gates = (*shape, n_keys, n_values // n_keys)
    q, k = (make((*shape, n_keys, dim), fill=leaning) for _ in range(2))
    gate_view = make if n_values > n_keys or make is not rows_apart else plain
    beta, alpha = (gate_view(gates, fill=uniform(-6, 6)) for _ in range(2))
    return (
        q,
        k,
        make((*shape, n_values, dim)),
        beta,
        alpha,
        plain((n_values,), fill=uniform(-3, -0.01)),
        flat_offset((n_values,)),
        state((batch.n_slots, n_values * dim * dim)),
        slots_of(batch, ids),
        ids((n_seqs,), I32, in_storage(ids, fixed_ids(*batch.valid))),
    )


HEADS = (
    ((1, 1), 32),
    ((2, 4), 64),
    ((1, 3), 12),
    ((3, 3), 16),
    ((4, 8), 32),
    ((2, 6), 36),
    ((1, 2), 128),
    ((2, 2), 100),
)


def _nets() -> Iterator[Case]:
    makes, heads = cycle(ROWS), cycle(HEADS)
    states = cycle((plain, outer_cut, rows_apart, flat_offset))
    for batch, _ in zip(cycle((*BATCHES, MANY)), range(27), strict=False):
        yield from _both(batch, *next(heads), next(makes), next(states))
    for batch, (heads_of, dim), make in zip(BATCHES, (HEADS[1], HEADS[5]) * 4, ROWS * 2, strict=False):
        for case in _both(batch, heads_of, dim, make, plain):
            yield replace(case, what=f"{case.what}, tiled", attrs=case.attrs | {"tiled": True})
    for batch, make in zip((*SNAPSHOTS, *LONG), ROWS * 2, strict=False):
        yield from _both(batch, *next(heads), make, next(states))


def _both(batch: Batch, heads: tuple[int, int], dim: int, make: Make, state: Make) -> Iterator[Case]:
    """The rule, and the rule with its norm."""
    operands = _net(batch, heads, dim, make, state, flat_offset if make is outer_cut else plain)
    what = f"heads {heads} of {dim}, {view_name(make)}, state {view_name(state)}, {batch}"
    yield Case("gated_delta_net", what, operands, {}, make is flat_offset)
    gate = make((len(batch.slots), batch.n_tokens, heads[1], dim), fill=uniform(-9, 9))
    operands = (*operands, flat_offset((dim,)), gate)
    many = batch.n_tokens >= 64  # which GPUs take in parts
    yield Case("gated_delta_norm", what, operands, {"eps": 1e-6}, make is plain, in_one=not many)


def _extremes() -> Iterator[Case]:
    """Gates that overflow where a kernel is careless, a state that is not finite, keys of zero, ids far outside."""
    batch, (n_keys, n_values), dim = Batch(5, (5,), (0,), 1), (2, 4), 32
    net = _net(batch, (n_keys, n_values), dim, rows_apart, plain)
    steep = rows_apart((1, 5, n_keys, 2), fill=values(-100, 100, 0, 20, -88, 89))
    bad = plain((1, n_values * dim * dim), fill=values(*[1.0] * 5000, NAN, *[0.5] * 3000, INF))
    zeros = rows_apart((1, 5, n_keys, dim), fill=values(0.0))
    far, two_slots = plain((1,), I32, fixed_ids(2**31 - 1)), plain((2, n_values * dim * dim))
    for what, at, operand in (
        ("steep beta", 3, steep),
        ("steep alpha", 4, steep),
        ("state not finite", 7, bad),
        ("keys of zero", 1, zeros),
        ("slot far outside", 8, far),
        ("more valid than tokens", 9, far),
        ("valid below 0", 9, plain((1,), I32, fixed_ids(-(2**31)))),
    ):
        state = two_slots if at == 8 else net[7]
        operands = (*net[:7], state, *net[8:])
        operands = (*operands[:at], operand, *operands[at + 1 :])
        yield Case("gated_delta_net", what, operands)
        norm = (plain((dim,)), outer_permuted((1, 5, n_values, dim)))
        yield Case("gated_delta_norm", what, (*operands, *norm), {"eps": 1e-6})


def spoilt(number: float, base: Fill = normal) -> Fill:
    """`base` of [B, T, ...], but for token 35 of the first sequence."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        x = base(rng, shape).astype(np.float32)
        x[0, 35] = number
        return x

    return fill


def _in_chunks() -> Iterator[Case]:
    """What products over a chunk of tokens may spread to the tokens before; and snapshots of spans without tokens.

    All of one shape, that of the snapshots in the middle, so that drivers compile one kernel for them.
    """
    batch, (n_keys, n_values), dim = SNAPSHOTS[1], (4, 8), 32
    net = _net(batch, (n_keys, n_values), dim, rows_apart, plain)
    n_seqs, n_tokens = len(batch.slots), batch.n_tokens
    keys, rows, gates = ((n_seqs, n_tokens, *rest) for rest in ((n_keys, dim), (n_values, dim), (n_keys, 2)))
    for what, at, operand in (
        ("NaN in a query", 0, rows_apart(keys, fill=spoilt(NAN, leaning))),
        ("NaN in a key", 1, rows_apart(keys, fill=spoilt(NAN, leaning))),
        ("NaN in a value", 2, rows_apart(rows, fill=spoilt(NAN))),
        ("NaN in beta", 3, rows_apart(gates, fill=spoilt(NAN))),
        ("NaN in alpha", 4, rows_apart(gates, fill=spoilt(NAN))),
        ("inf in alpha", 4, rows_apart(gates, fill=spoilt(INF))),
        ("steepest decay", 5, plain((n_values,), fill=values(-1e38, -INF, -100, -1e-30))),
    ):
        operands = (*net[:at], operand, *net[at + 1 :])
        yield Case("gated_delta_net", f"{what}, {n_tokens} tokens", operands, in_parts=False)
    batch = Batch(n_tokens, (0, 64), (1, 0), 6, ((2, 3), (4, 5)))
    yield Case("gated_delta_net", f"{batch}", _net(batch, (n_keys, n_values), dim, rows_apart, plain), in_parts=False)


def _lower(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Well-conditioned: diagonal near 1, small below it, and NaN above, which must not be read."""
    made = np.tril(normal(rng, shape) * np.float32(0.5 / np.sqrt(shape[-1])), -1)
    made += np.eye(shape[-1], dtype=np.float32) * rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return np.where(np.tril(np.ones(shape[-2:], bool)), made, np.nan).astype(np.float32)


def _solve_tri() -> list[Case]:
    sizes = ((1, 1), (2, 3), (7, 31), (16, 16), (31, 65), (33, 7), (63, 1), (64, 64), (64, 128), (65, 9))
    cases = [Case("solve_tri", f"{n} x {m}", (Operand((n, n), fill=_lower), Operand((n, m)))) for n, m in sizes]
    views = (
        ("batches", Operand((2, 3, 16, 16), fill=_lower), Operand((2, 3, 16, 20)), True),
        ("b transposed", Operand((3, 16, 16), fill=_lower), swapped(3, 16, 20), False),
        (
            "batches permuted",
            Operand((3, 2, 16, 16), fill=_lower, view=_outer),
            Operand((3, 2, 16, 20), view=_outer),
            False,
        ),
        (
            "heads inside",
            Operand((2, 16, 16), fill=_lower),
            Operand((16, 2, 20), view=lambda t: t.permute(1, 0, 2)),
            True,
        ),
        ("one a for all", _one_a(), Operand((4, 33, 12)), False),
        (
            "a from rows apart",
            Operand((40, 70), view=lambda t: t.slice(0, 3, 35).slice(1, 5, 37), fill=_near_one),
            Operand((32, 3)),
            True,
        ),
        ("sliced b", Operand((64, 64), fill=_lower), Operand((64, 100), view=lambda t: t.slice(1, 7, 40)), False),
    )
    return cases + [Case("solve_tri", what, (a, b), strided_out=strided) for what, a, b, strided in views]


def _one_a() -> Operand:
    return Operand((1, 33, 33), fill=_lower, view=lambda t: t.broadcast_to(4, 33, 33))


def _near_one(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Any square cut of it has a triangle that can be solved: ones on the 2nd diagonal, small numbers elsewhere."""
    return (np.eye(*shape, k=2) + rng.uniform(-0.02, 0.02, shape)).astype(np.float32)


def _outer(t):
    return t.permute(1, 0, 2, 3)


def _ssm_conv() -> list[Case]:
    cases = []
    for batch, tokens, channels, taps in ((1, 1, 1, 1), (1, 1, 64, 4), (1, 7, 65, 4), (2, 33, 257, 3), (3, 5, 31, 2)):
        x = Operand((batch, tokens + taps - 1, channels))
        cases.append(Case("ssm_conv", f"{batch} x {tokens} x {channels}, {taps} taps", (x, Operand((channels, taps)))))
    w = Operand((40, 4))
    views = (
        ("slice of channels", Operand((2, 10, 90), view=lambda t: t.slice(2, 5, 45)), w, True),
        ("slice of tokens", Operand((2, 10, 40), view=lambda t: t.slice(1, 2, 9)), w, False),
        ("channels first", Operand((2, 40, 10), view=lambda t: t.permute(0, 2, 1)), w, True),
        ("taps first", Operand((2, 10, 40)), Operand((4, 40), view=transpose), False),
        ("a row a sequence", Operand((1, 10, 40), view=lambda t: t.broadcast_to(3, 10, 40)), w, False),
        ("inf and NaN", Operand((1, 10, 40), fill=one_inf), w, True),
        ("exactly the taps", Operand((5, 4, 40)), w, True),
    )
    return cases + [Case("ssm_conv", what, (x, w), strided_out=strided) for what, x, w, strided in views]


def projected(batch: Batch, dtype: DType, width: int, make: Make, *n_rows: int, fill: Fill = normal) -> Case:
    """Projections of one token a sequence, the first of them convolved."""
    (_, _, state, slots, tails), x = (
        _conv(batch, n_rows[0], 4, make).operands,
        make((len(batch.slots), width), fill=fill),
    )
    weights = (Operand((m, width), dtype) for m in n_rows)
    operands = x, plain((width,)), plain((n_rows[0], 4)), state, slots, tails, *weights
    what = f"{dtype.name}: {n_rows} rows of {width}, {view_name(make)}, {batch}"
    return Case("norm_mul_mats_conv", what, operands, {"eps": 1e-6}, make is rows_apart, in_one=False)


def _projections() -> Iterator[Case]:
    for t in (t for t in DType if t is not I32):
        width = 2 * t.block if t.is_quantised else 70
        yield projected(BATCHES[1], t, width, plain, 65, 9)
    q4, q8 = DType.Q4_0, DType.Q8_0
    yield projected(ONE, q4, 2048, plain, 160, 40, 8)
    yield projected(ONE, q4, 12800, plain, 5, 3)
    yield projected(BATCHES[2], q4, 2048, rows_apart, 40, 24)
    yield projected(Batch(1, (1,) * 4, tuple(range(4)), 4), q4, 1024, plain, 40, 24, 8)
    yield projected(ONE, DType.F32, 2048, plain, 33, 1)
    yield projected(ONE, DType.F32, 1099, plain, 33, 1)
    yield projected(Batch(1, (1, 1, 1), (2, -1, 1), 4), q8, 96, rows_apart, 70, 5)
    yield projected(BATCHES[1], q8, 64, plain, 20, 1, fill=uniform(-1e-4, 1e-4))
    yield projected(BATCHES[1], q8, 64, plain, 20, 4, fill=one_inf)


CASES: tuple[Case, ...] = (
    *_convs(),
    *_projections(),
    *_nets(),
    *_extremes(),
    *_in_chunks(),
    *_solve_tri(),
    *_ssm_conv(),
)
