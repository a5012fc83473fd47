"""Cases of the op table: scans whose state need not be square."""

from collections.abc import Iterator
from itertools import cycle

from ..ir import composites  # noqa: F401  (whose ops these are)
from ..ir.dtypes import DType
from .case import Case, Operand, uniform, values
from .cases_recurrent import (
    BATCHES,
    LONG,
    MANY,
    ROWS,
    SNAPSHOTS,
    Batch,
    fixed_ids,
    in_storage,
    leaning,
    slots_of,
    spoilt,
    view_name,
)
from .views import Make, flat_offset, outer_cut, plain, rows_apart

I32 = DType.I32
INF, NAN = float("inf"), float("nan")
SIZES = (((1, 1), 32, 16), ((2, 4), 24, 64), ((1, 3), 12, 20), ((4, 8), 8, 128), ((2, 2), 64, 33), ((1, 2), 5, 256))


def _mamba(batch: Batch, sizes: tuple[tuple[int, int], int, int], make: Make, state: Make) -> tuple[Operand, ...]:
    (n_groups, n_heads), dim, n_state = sizes
    shape, turned = (len(batch.slots), batch.n_tokens), flat_offset if make is outer_cut else plain
    b, c = (make((*shape, n_groups, n_state)) for _ in "bc")
    return (
        make((*shape, n_heads, dim)),
        b,
        c,
        (plain if make is rows_apart else make)((*shape, n_heads), fill=uniform(-6, 3)),
        flat_offset((n_heads,)),
        plain((n_heads,), fill=uniform(-3, -0.01)),
        plain((n_heads,)),
        state((batch.n_slots, n_heads * dim * n_state)),
        slots_of(batch, turned),
        turned((shape[0],), I32, in_storage(turned, fixed_ids(*batch.valid))),
    )


def _kimi(batch: Batch, sizes: tuple[int, int, int], make: Make, state: Make) -> tuple[Operand, ...]:
    n_heads, dim, n_state = sizes
    shape, turned = (len(batch.slots), batch.n_tokens, n_heads), flat_offset if make is outer_cut else plain
    q, k = (make((*shape, n_state), fill=leaning) for _ in "qk")
    return (
        q,
        k,
        make((*shape, dim)),
        (plain if make is rows_apart else make)(shape, fill=uniform(-6, 6)),
        make((*shape, n_state), fill=uniform(-6, 6)),
        plain((n_heads,), fill=uniform(-3, -0.01)),
        flat_offset((n_heads * n_state,)),
        state((batch.n_slots, n_heads * dim * n_state)),
        slots_of(batch, turned),
        turned(shape[:1], I32, in_storage(turned, fixed_ids(*batch.valid))),
    )


KIMI_SIZES = ((1, 32, 32), (4, 12, 12), (3, 20, 64), (2, 64, 128), (8, 16, 36))


def _kimis() -> Iterator[Case]:
    makes, sizes, states = cycle(ROWS), cycle(KIMI_SIZES), cycle((plain, outer_cut, rows_apart, flat_offset))
    for batch in (*BATCHES, MANY, *SNAPSHOTS, *LONG):
        of, make, state = next(sizes), next(makes), next(states)
        what = f"{of[0]} heads, {of[1]} x {of[2]}, {view_name(make)}, state {view_name(state)}, {batch}"
        yield Case("kimi_delta", what, _kimi(batch, of, make, state), {}, make is flat_offset)
    given = _kimi(Batch(5, (5,), (0,), 1), KIMI_SIZES[1], rows_apart, plain)
    steep = rows_apart((1, 5, 4, 12), fill=values(-100, 100, 0, 20, -88, 89))
    yield Case("kimi_delta", "steep decays", (*given[:4], steep, *given[5:]))


def _kimis_in_chunks() -> Iterator[Case]:
    """What products over a chunk of tokens may spread to the tokens before, all of one shape; and steep decays."""
    batch, (n_heads, dim, n_state) = SNAPSHOTS[1], KIMI_SIZES[2]
    given, shape = _kimi(batch, KIMI_SIZES[2], rows_apart, plain), (len(batch.slots), batch.n_tokens, n_heads)
    keys = (*shape, n_state)
    for what, place, operand in (
        ("NaN in q", 0, rows_apart(keys, fill=spoilt(NAN, leaning))),
        ("NaN in k", 1, rows_apart(keys, fill=spoilt(NAN, leaning))),
        ("NaN in v", 2, rows_apart((*shape, dim), fill=spoilt(NAN))),
        ("NaN in beta", 3, plain(shape, fill=spoilt(NAN))),
        ("NaN in alpha", 4, rows_apart(keys, fill=spoilt(NAN))),
        ("steep decays", 4, rows_apart(keys, fill=values(-100, 100, 0, 20, -88, 89, -3))),
        ("steepest decay", 5, plain((n_heads,), fill=values(-1e38, -100, -1e-30))),
        ("keys of zero", 1, rows_apart(keys, fill=values(0.0))),
    ):
        operands = (*given[:place], operand, *given[place + 1 :])
        yield Case("kimi_delta", f"{what}, {batch.n_tokens} tokens", operands, in_parts=False)


def _cases() -> Iterator[Case]:
    makes, sizes, states = cycle(ROWS), cycle(SIZES), cycle((plain, outer_cut, rows_apart, flat_offset))
    for batch in (*BATCHES, MANY, *BATCHES, *SNAPSHOTS, *LONG):
        of, make, state = next(sizes), next(makes), next(states)
        what = f"heads {of[0]}, {of[1]} x {of[2]}, {view_name(make)}, state {view_name(state)}, {batch}"
        yield Case("mamba2", what, _mamba(batch, of, make, state), {}, make is flat_offset)


def _extremes() -> Iterator[Case]:
    """Steps that overflow where a kernel is careless, a state that is not finite, ids far outside."""
    batch, sizes = Batch(5, (5,), (0,), 1), SIZES[1]
    given, far = _mamba(batch, sizes, rows_apart, plain), plain((1,), I32, fixed_ids(2**31 - 1))
    n = sizes[0][1] * sizes[1] * sizes[2]
    for what, place, operand in (
        ("steep steps", 3, plain((1, 5, 4), fill=values(-100, 100, 0, 20, -88, 89))),
        ("state not finite", 7, plain((1, n), fill=values(*[1.0] * 5000, NAN, *[0.5] * (n - 5002), INF))),
        ("inputs of zero", 0, rows_apart((1, 5, 4, 24), fill=values(0.0))),
        ("more valid than tokens", 9, far),
        ("valid below 0", 9, plain((1,), I32, fixed_ids(-(2**31)))),
    ):
        yield Case("mamba2", what, (*given[:place], operand, *given[place + 1 :]))


def _in_chunks() -> Iterator[Case]:
    """What products over a chunk of tokens may spread to the tokens before, all of one shape; and steep decays."""
    batch, sizes = SNAPSHOTS[1], SIZES[1]
    given, (n_groups, n_heads), n_seqs = _mamba(batch, sizes, rows_apart, plain), sizes[0], len(batch.slots)
    rows, groups, steps = ((n_seqs, batch.n_tokens, *rest) for rest in ((n_heads, 24), (n_groups, 64), (n_heads,)))
    for what, place, operand in (
        ("NaN in x", 0, rows_apart(rows, fill=spoilt(NAN))),
        ("NaN in b", 1, rows_apart(groups, fill=spoilt(NAN))),
        ("NaN in c", 2, rows_apart(groups, fill=spoilt(NAN))),
        ("NaN in dt", 3, plain(steps, fill=spoilt(NAN))),
        ("steep steps", 3, plain(steps, fill=values(-100, 100, 0, 20, -88, 89))),
        ("steepest decay", 5, plain((n_heads,), fill=values(-1e38, -1e4, -100, -1e-30))),
    ):
        operands = (*given[:place], operand, *given[place + 1 :])
        yield Case("mamba2", f"{what}, {batch.n_tokens} tokens", operands, in_parts=False)


CASES: tuple[Case, ...] = (*_cases(), *_extremes(), *_in_chunks(), *_kimis(), *_kimis_in_chunks())
