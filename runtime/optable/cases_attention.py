"""Cases of the op table: attention over caches, whole and in parts, and its inputs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.tensor import Tensor
from .case import Case, Fill, Operand, integers, normal, uniform
from .views import one_inf, transpose

F16, I32 = DType.F16, DType.I32
BIASES = ("q_bias", "k_bias", "v_bias")
Size = tuple[int, int, int, int, int, int, int]  # sequences, tokens, heads, key heads, dim, keys looked at, context
SIZES: tuple[Size, ...] = (
    (1, 1, 1, 1, 16, 1, 8),
    (1, 1, 4, 2, 64, 100, 256),
    (2, 1, 8, 1, 20, 33, 64),
    (3, 1, 6, 3, 100, 300, 300),
    (1, 1, 16, 2, 256, 257, 512),
    (1, 3, 4, 2, 64, 64, 128),
    (2, 7, 3, 1, 36, 40, 70),
    (1, 8, 2, 2, 128, 31, 65),
    (1, 33, 4, 2, 64, 40, 64),
    (2, 17, 6, 2, 32, 100, 128),
    (1, 64, 2, 1, 64, 64, 64),
)


def given(*numbers: int) -> Fill:
    return lambda _rng, shape: np.array(numbers, np.int32).reshape(shape)


def _halves(t: Tensor) -> Tensor:
    """The second half of each head of a tensor twice as wide, as gates stand behind queries."""
    n = t.shape[-1] // 2
    return t.slice(t.ndim - 1, n, 2 * n)


def _up_to_full(n_kv: int) -> Fill:
    """Positions, the last one of which sees a cache that is full."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        made = rng.integers(-1, n_kv, shape, np.int32)
        made.reshape(-1)[-1] = n_kv - 1
        return made

    return fill


def sized_operands(n_seqs: int, n_tokens: int, n_heads: int, n_keys: int, dim: int, n_kv: int, n_ctx: int) -> tuple:
    """q, k, v, slots (the last ones first), pos (some -1, which see nothing), gate."""
    wide: Shape = (n_seqs, n_tokens, n_heads, 2 * dim)
    cache = (n_seqs + 1, n_ctx, n_keys * dim)
    return (
        Operand(wide, view=_halves),
        Operand(cache),
        Operand(cache),
        Operand((n_seqs,), I32, fill=given(*range(n_seqs, 0, -1))),
        Operand((n_seqs, n_tokens), I32, fill=_up_to_full(n_kv) if n_kv == n_ctx else integers(-1, n_kv)),
        Operand(wide, view=_halves),
    )


def cached_in_halves(operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
    """Operands of attention over caches of F16."""
    q, k, v, *rest = operands
    return q, replace(k, dtype=F16), replace(v, dtype=F16), *rest


def _attention() -> Iterator[Case]:
    for size in SIZES:
        n_kv, dim = size[5], size[4]
        what = "{} x {} tokens, {} heads on {} of {}, {} of {} keys".format(*size)
        attrs = {"scale": dim**-0.5, "n_kv": n_kv}
        gated = {**attrs, "extra": ("gate",)}
        operands = sized_operands(*size)
        far = Operand((size[0],), I32, fill=given(*(-3, 99, 2)[: size[0]]))
        yield Case("attention", what, operands, gated, strided_out=dim == 64)
        yield Case("attention", f"{what}, F16", cached_in_halves(operands), gated, strided_out=dim != 64)
        yield Case("attention", f"{what}, sharp", (sharp_queries(operands[0]), *operands[1:]), gated)
        if size[0] > 1:
            yield Case("attention", f"{what}, slots outside", (*operands[:3], far, *operands[4:]), gated)
        for n_split in (1, 2, 5):
            if size[1] == 1 and n_split <= n_kv:
                parts = {**attrs, "n_split": n_split}
                yield Case("attention_split", f"{what}, {n_split} parts", operands[:5], parts, strided_out=dim == 64)
                halves = cached_in_halves(operands[:5])
                yield Case("attention_split", f"{what}, {n_split} parts, F16", halves, parts, strided_out=dim != 64)
                if size[0] > 1:
                    ins = (*operands[:3], far, operands[4])
                    yield Case("attention_split", f"{what}, {n_split} parts, slots outside", ins, parts)


def _variants() -> Iterator[Case]:
    """What a family may ask for beside the gate, one by one and together."""
    ways: tuple[dict, ...] = (
        {},
        {"window": 5},
        {"window": 1000},
        {"cap": 0.7},
        {"extra": ("sinks",)},
        {"extra": ("gate",), "window": 12, "cap": 3.0},
        {"extra": ("gate", "sinks"), "window": 17, "cap": 1.5},
    )
    for size in (SIZES[1], SIZES[2], SIZES[6], SIZES[9], SIZES[10]):
        *operands, gate = sized_operands(*size)
        more = {"gate": gate, "sinks": Operand((size[2],), fill=uniform(-3, 3))}
        for way in ways:
            attrs = {"scale": 1.1 * size[4] ** -0.5, "n_kv": size[5], **way}
            what = "{} x {} tokens, {} heads on {} of {}, {} of {} keys".format(*size) + f", {way or 'no gate'}"
            given = (*operands, *(more[name] for name in way.get("extra", ())))
            yield Case("attention", what, given, attrs, in_one=size[1] <= 8)
            if "extra" in way or "cap" in way:
                yield Case("attention", f"{what}, F16", cached_in_halves(given), attrs, True, in_one=size[1] <= 8)
    yield from _apart()
    yield from _latent()
    yield from _rings()
    yield from _windows_in_parts()
    for n_split in (1, 3):
        capped = {"scale": 0.2, "n_kv": SIZES[3][5], "n_split": n_split, "cap": 1.3}
        yield Case("attention_split", f"capped, {n_split} parts", sized_operands(*SIZES[3])[:5], capped)


def _apart() -> Iterator[Case]:
    """Values that are not as keys are, and rows of F16 that begin amid words."""
    q, k, _, *rest, _ = sized_operands(*SIZES[6])
    narrow = Operand((*k.shape[:2], 20))
    attrs = {"scale": 0.2, "n_kv": SIZES[6][5]}
    yield Case("attention", "narrower values", (q, k, narrow, *rest), attrs)
    part_of_keys = Operand((3, 70, 36), view=lambda t: t.slice(2, 0, 16))
    yield Case("attention", "values are a part of wider rows", (q, k, part_of_keys, *rest), attrs)
    halves = Operand(k.shape, F16), Operand((*k.shape[:2], 48), F16, lambda t: t.slice(2, 4, 24))
    yield Case("attention", "narrower values of wider rows, F16", (q, *halves, *rest), attrs)
    yield Case("attention", "keys of F16, values of F32", (q, halves[0], narrow, *rest), attrs, in_one=False)
    odd = Operand((3, 70, 40), F16, lambda t: t.slice(2, 3, 39))
    yield Case("attention", "keys from amid words", (q, odd, odd, *rest), attrs, in_one=False)


def _rings() -> Iterator[Case]:
    """Caches shorter than what is looked at: windows that end at their end, go round it, and fill them."""
    sizes: tuple[tuple[Size, tuple[dict, ...]], ...] = (
        ((1, 1, 4, 2, 64, 300, 150), ({"window": 140},)),
        ((2, 1, 8, 1, 20, 33, 7), ({"window": 7}, {"window": 1, "extra": ("sinks",)})),
        ((3, 1, 6, 3, 100, 400, 256), ({"window": 256, "cap": 2.0}, {"window": 3, "extra": ("gate",)})),
        ((2, 7, 3, 1, 36, 70, 20), ({"window": 14}, {"window": 5, "extra": ("gate", "sinks"), "cap": 3.0})),
        ((1, 40, 2, 2, 32, 90, 64), ({"window": 20}, {"window": 64, "extra": ("gate",)})),
        ((2, 65, 4, 2, 20, 200, 96), ({"window": 32}, {"window": 96, "extra": ("gate", "sinks"), "cap": 3.0})),
    )
    for size, ways in sizes:
        operands = sized_operands(*size)
        more = {"gate": operands[5], "sinks": Operand((size[2],), fill=uniform(-3, 3))}
        for way in ways:
            given = (more[name] for name in way.get("extra", ()))
            what = "{} x {} tokens, {} heads on {} of {}, {} keys in {} rows".format(*size) + f", {way}"
            attrs = {"scale": size[4] ** -0.5, "n_kv": size[5], **way}
            ins, strided = (*operands[:5], *given), size[4] == 36
            yield Case("attention", what, ins, attrs, strided, in_one=size[1] <= 8)
            if "extra" not in way or "cap" in way:
                halves = cached_in_halves(ins)
                yield Case("attention", f"{what}, F16", halves, attrs, not strided, in_one=size[1] <= 8)


def _windows_in_parts() -> Iterator[Case]:
    """Windows of whole caches and of rings, fewer keys than parts, and windows that go beyond the first key."""
    sizes: tuple[tuple[Size, tuple[tuple[int, int], ...]], ...] = (  # with windows, parts
        ((1, 1, 4, 2, 64, 100, 256), ((5, 7), (40, 3), (1000, 2))),
        ((3, 1, 6, 3, 100, 300, 300), ((1, 1), (1, 3), (299, 4))),
        ((1, 1, 4, 2, 64, 300, 150), ((140, 3), (150, 1))),
        ((2, 1, 8, 1, 20, 33, 7), ((7, 3), (2, 5))),
        ((3, 1, 6, 3, 100, 900, 256), ((256, 1), (200, 2), (256, 100))),
        ((2, 1, 16, 2, 256, 600, 128), ((128, 1), (97, 4))),
    )
    for size, ways in sizes:
        ins = sized_operands(*size)[:5]
        for window, n_split in ways:
            what = "{} x {} tokens, {} heads on {} of {}, {} keys in {} rows".format(*size)
            attrs = {"scale": size[4] ** -0.5, "n_kv": size[5], "window": window, "n_split": n_split}
            named, wide = f"{what}, a window of {window}, {n_split} parts", n_split % 2 == 1
            yield Case("attention_split", named, ins, attrs, strided_out=wide)
            halves = cached_in_halves(ins)
            yield Case("attention_split", f"{named}, F16", halves, attrs | {"cap": 1.3}, strided_out=not wide)


def _latent() -> Iterator[Case]:
    """Heads on one row of keys, whose first numbers are the values, and values wider than keys."""
    for n_seqs, n_heads, dim, dim_v, n_kv in ((1, 4, 36, 32, 70), (2, 3, 576, 512, 40), (2, 6, 20, 31, 33)):
        q, k, _, slots, pos, _ = sized_operands(n_seqs, 1, n_heads, 1, dim, n_kv, 80)
        view = (lambda t, n=dim_v: t.slice(2, 0, n)) if dim_v < dim else None
        v = Operand(k.shape, view=view) if view else Operand((*k.shape[:2], dim_v))
        what, attrs = f"{n_seqs} x {n_heads} heads of {dim}, values of {dim_v}", {"scale": dim**-0.5, "n_kv": n_kv}
        yield Case("attention", what, (q, k, v, slots, pos), attrs, strided_out=dim == 36)
        parts = {**attrs, "n_split": 3}
        yield Case("attention_split", f"{what}, 3 parts", (q, k, v, slots, pos), parts)
        halves, whole = cached_in_halves((q, k, v, slots, pos)), dim_v % 2 == 0
        yield Case("attention", f"{what}, F16", halves, attrs, strided_out=dim != 36, in_one=whole)
        if whole:
            yield Case("attention_split", f"{what}, 3 parts, F16", halves, parts, strided_out=True)


def sharp_queries(q: Operand) -> Operand:
    """Queries that tell keys well apart."""
    return replace(q, fill=_large)


def _large(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return 30 * normal(rng, shape)


def _parts(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Sums, then tops and totals; of some parts nothing, and of the first head no part at all."""
    made = normal(rng, shape)
    made[..., -2], made[..., -1] = 20 * made[..., -2], rng.uniform(1, 40, shape[:-1])
    empty = rng.random(shape[:-1]) < 0.3
    empty[:, 0] = True
    made[empty] = 0
    made[..., -2][empty] = -np.inf
    return made


def _combine() -> Iterator[Case]:
    sizes = (
        (1, 1, 1, 16),
        (1, 4, 3, 64),
        (3, 16, 2, 256),
        (2, 5, 16, 100),
        (1, 3, 70, 96),
        (2, 3, 40, 256),
        (1, 2, 64, 64),
    )
    for n_seqs, n_heads, n_split, dim in sizes:
        parts = Operand((n_seqs, n_heads, n_split, dim + 2), fill=_parts)
        more = {"gate": Operand((n_seqs, 1, n_heads, 2 * dim), view=_halves), "sinks": _sinks_apart(n_heads)}
        for extra in ((), ("gate",), ("sinks",), ("gate", "sinks")):
            what = f"{n_seqs} x {n_heads} heads of {dim}, {n_split} parts, {' and '.join(extra) or 'no gate'}"
            ins = (parts, *(more[name] for name in extra))
            yield Case("attention_combine", what, ins, {"extra": extra} if extra else {}, (dim == 64) == bool(extra))


def _sinks_apart(n_heads: int) -> Operand:
    """Above the parts' tops and below them, behind others."""
    return Operand((n_heads + 3,), view=lambda t: t.slice(0, 3, n_heads + 3), fill=uniform(-30, 30))


INPUTS = (  # sequences, tokens, heads, key heads, dim, dims turned
    (1, 1, 1, 1, 16, 16),
    (1, 1, 4, 2, 64, 32),
    (3, 1, 16, 2, 256, 64),
    (2, 5, 3, 1, 20, 8),
    (1, 65, 2, 2, 100, 50),
)


def input_operands(n_seqs: int, n_tokens: int, n_heads: int, n_keys: int, dim: int, n_dims: int) -> tuple:
    """q, k, v, pos, table, rows, both caches."""
    n, n_ctx, kv = n_seqs * n_tokens, 40, (n_seqs, n_tokens, n_keys, dim)
    rows = np.random.default_rng(7).permutation(n + 9)[:n]
    rows[0] = -1
    return (
        Operand((n_seqs, n_tokens, n_heads, 2 * dim), view=_halves),
        Operand(kv),
        Operand((*kv[:3], 2 * dim), view=_halves),
        Operand((n_seqs, n_tokens), I32, fill=integers(-1, n_ctx + 2)),
        Operand((n_ctx, n_dims), fill=uniform(-1, 1)),
        Operand((n,), I32, fill=given(*rows)),
        Operand((n + 4, n_keys * dim)),
        Operand((n + 4, n_keys * dim)),
    )


def _inputs() -> Iterator[Case]:
    for n_seqs, n_tokens, n_heads, n_keys, dim, n_dims in INPUTS:
        operands = input_operands(n_seqs, n_tokens, n_heads, n_keys, dim, n_dims)
        norms = tuple(Operand((dim,), fill=uniform(0.5, 1.5)) for _ in "qk")
        biases = tuple(Operand((h * dim,)) for h in (n_heads, n_keys, n_keys))
        what = f"{n_seqs} x {n_tokens} tokens, {n_heads} and {n_keys} heads of {dim}, {n_dims} turned"
        eps = 0.5 if dim == 20 else 1e-6  # once one that counts
        normed, apart = {"eps": eps, "extra": ("q_norm", "k_norm")}, dim == 64
        both = {"eps": eps, "extra": ("q_norm", "k_norm", *BIASES)}
        for way in ({}, {"neighbours": True}):
            named = f"{what}, eps {eps}{', neighbours' if way else ''}"
            yield Case("qk_rope_cache", named, (*operands, *norms), normed | way, strided_out=apart)
            yield Case("qk_rope_cache", f"{named}, no norms", operands, {"eps": 0.0} | way, strided_out=apart)
        yield Case("qk_rope_cache", f"{what}, norms and biases", (*operands, *norms, *biases), both)
        halves = *operands[:6], *(replace(cache, dtype=F16) for cache in operands[6:])
        cases = (
            Case("qk_rope_cache", f"{what}, eps {eps}, F16", (*halves, *norms), normed, strided_out=not apart),
            Case("qk_rope_cache", f"{what}, no norms, F16", halves, {"eps": 0.0}, strided_out=apart),
            Case("qk_rope_cache", f"{what}, norms and biases, F16", (*halves, *norms, *biases), both),
        )
        alone = {"eps": 0.0, "extra": BIASES}
        biased = Case("qk_rope_cache", f"{what}, biases, F16", (*halves, *biases), alone, strided_out=not apart)
        yield from (case.in_halves() for case in (*cases, biased))
        yield Case("qk_rope_cache", f"{what}, biases", (*operands, *biases), alone, strided_out=apart)
        yield from _scaled_inputs(what, operands, halves, strided_out=not apart)


def _scaled_inputs(what: str, operands: tuple, halves: tuple, strided_out: bool) -> Iterator[Case]:
    """Queries with factors by position, of which there are fewer than positions."""
    scales, attrs = Operand((37,), fill=uniform(0.5, 2)), {"eps": 0.0, "extra": ("q_scales",)}
    yield Case("qk_rope_cache", f"{what}, scales", (*operands, scales), attrs, strided_out=strided_out)
    cached = Case("qk_rope_cache", f"{what}, scales, F16", (*halves, scales), attrs | {"neighbours": True})
    yield cached.in_halves()


def latent_operands(n_seqs: int, n_tokens: int, n_heads: int, n_latent: int, dim: int, n_dims: int) -> tuple:
    """q, kv, norm, pos, table, rows and the cache of latents."""
    n, n_ctx = n_seqs * n_tokens, 40
    rows = np.random.default_rng(8).permutation(n + 9)[:n]
    rows[-1] = n + 4  # outside
    return (
        Operand((n_seqs, n_tokens, n_heads, 2 * dim), view=_halves),
        Operand((n_seqs, n_tokens, n_latent + dim)),
        Operand((n_latent,), fill=uniform(0.5, 1.5)),
        Operand((n_seqs, n_tokens), I32, fill=integers(-1, n_ctx + 2)),
        Operand((n_ctx, n_dims), fill=uniform(-1, 1)),
        Operand((n,), I32, fill=given(*rows)),
        Operand((n + 4, n_latent + dim)),
    )


def _latent_inputs() -> Iterator[Case]:
    """Rows of which the first numbers are normed and the last turned; some of the first case's turn nothing."""
    sizes = ((1, 1, 4, 32, 16, 16), (2, 3, 2, 20, 8, 2), (1, 65, 3, 512, 64, 64), (3, 1, 1, 33, 6, 4))
    for n_seqs, n_tokens, n_heads, n_latent, dim, n_dims in sizes:
        odd = n_latent % 2
        *operands, cache = latent_operands(n_seqs, n_tokens, n_heads, n_latent, dim, n_dims)
        what = f"{n_seqs} x {n_tokens} tokens, {n_heads} heads of {dim}, {n_dims} turned, {n_latent} normed"
        for attrs in ({"eps": 1e-6}, {"eps": 0.5, "neighbours": True}):
            named, apart = f"{what}, {attrs}", dim != 64
            yield Case("latent_cache", named, (*operands, cache), attrs, strided_out=apart)
            halves = Case(
                "latent_cache", f"{named}, F16", (*operands, replace(cache, dtype=F16)), attrs, in_one=not odd
            )
            yield halves.in_halves()


def _angles(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """A table of cosines, then sines."""
    angles = np.outer(np.arange(shape[0]), 10000.0 ** -np.linspace(0, 1, shape[1] // 2))
    return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def _rope() -> list[Case]:
    cases = []
    for b, t, h, d, n in ((1, 1, 1, 2, 2), (1, 1, 8, 64, 64), (1, 7, 3, 33, 16), (2, 5, 2, 256, 64), (1, 3, 1, 7, 2)):
        pos = Operand((b, t), I32, fill=integers(0, 50))
        operands = (Operand((b, t, h, d)), pos, Operand((50, n), fill=_angles))
        cases.append(Case("rope", f"{b} x {t} x {h} x {d}, {n} rotated", operands))
        cases.append(Case("rope", f"{b} x {t} x {h} x {d}, {n} rotated, neighbours", operands, {"neighbours": True}))
    views = [Case("rope", what, tuple(of), strided_out=strided) for what, *of, strided in _rope_views()]
    return cases + views


def _rope_views() -> Iterator[tuple[str, Operand, Operand, Operand, bool]]:
    """What is special, x, pos, table, and whether the output's rows stand apart."""
    table, pos = Operand((50, 16), fill=_angles), Operand((2, 5), I32, fill=integers(0, 50))
    row = Operand((1, 5), I32, lambda t: t.broadcast_to(2, 5), integers(0, 50))
    part = Operand((60, 40), fill=_angles, view=lambda t: t.slice(0, 4, 54).slice(1, 0, 20))
    x = Operand((2, 5, 3, 24))
    yield from (
        ("heads before tokens", Operand((2, 3, 5, 24), view=lambda t: t.permute(0, 2, 1, 3)), pos, table, False),
        ("query half of a head", Operand((2, 5, 3, 48), view=lambda t: t.slice(3, 0, 24)), pos, table, True),
        ("odd offset", Operand((2, 5, 3, 27), view=lambda t: t.slice(3, 1, 25)), pos, table, False),
        ("inner axis strided", Operand((2, 5, 24, 3), view=lambda t: t.permute(0, 1, 3, 2)), pos, table, True),
        ("positions transposed", x, Operand((5, 2), I32, transpose, integers(0, 50)), table, False),
        ("positions out of range", x, Operand((2, 5), I32, fill=integers(-9, 90)), table, True),
        ("one position row for all", x, row, table, False),
        ("table sliced", x, pos, part, True),
        ("inf and NaN", Operand((2, 5, 3, 24), fill=one_inf), pos, table, False),
    )


CASES: tuple[Case, ...] = (*_attention(), *_variants(), *_combine(), *_inputs(), *_latent_inputs(), *_rope())
