"""Cases of the op table: caches of Q8_0, written, read at offsets and through rings, beside others of F16."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Case, Fill, Operand, integers, normal, uniform, values
from .cases_attention import BIASES, Size, given, input_operands, latent_operands, sharp_queries, sized_operands
from .views import flat_offset, permuted, plain, rows_apart, stepped

F16, I32, Q8_0 = DType.F16, DType.I32, DType.Q8_0
INF, NAN = float("inf"), float("nan")
SIZES: tuple[Size, ...] = (
    (1, 1, 4, 2, 64, 100, 256),
    (3, 1, 6, 3, 96, 300, 300),
    (1, 1, 16, 2, 256, 257, 512),
    (2, 1, 8, 1, 32, 33, 64),
    (2, 7, 3, 1, 160, 40, 70),
    (1, 8, 2, 2, 128, 31, 65),
    (1, 33, 4, 2, 64, 40, 64),
    (2, 17, 6, 2, 32, 100, 128),
)
RINGS: tuple[tuple[Size, tuple[dict, ...]], ...] = (
    ((1, 1, 4, 2, 64, 300, 150), ({"window": 140},)),
    ((2, 1, 8, 1, 32, 33, 7), ({"window": 7, "cap": 2.0}, {"window": 1, "extra": ("sinks",)})),
    ((2, 7, 3, 1, 96, 70, 20), ({"window": 14}, {"window": 5, "extra": ("gate", "sinks"), "cap": 3.0})),
    ((2, 65, 4, 2, 64, 200, 96), ({"window": 32}, {"window": 96, "extra": ("gate", "sinks"), "cap": 3.0})),
)


def of_blocks(cache: Operand) -> Operand:
    return replace(cache, dtype=Q8_0, cached=True)


def cached_in_blocks(operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
    """Operands of attention over caches of Q8_0."""
    q, k, v, *rest = operands
    return q, of_blocks(k), of_blocks(v), *rest


def _named(size: Size) -> str:
    return "{} x {} tokens, {} heads on {} of {}, {} of {} keys".format(*size)


def _reads() -> Iterator[Case]:
    for size in SIZES:
        what, attrs, wide = f"{_named(size)}, Q8_0", {"scale": size[4] ** -0.5, "n_kv": size[5]}, size[4] == 64
        operands = cached_in_blocks(sized_operands(*size))
        few = size[1] <= 8
        yield Case("attention", what, operands, attrs | {"extra": ("gate",)}, strided_out=wide, in_one=few)
        yield Case("attention", f"{what}, no gate", operands[:5], attrs, strided_out=not wide, in_one=few)
        if size[1] == 1:
            sharp = (sharp_queries(operands[0]), *operands[1:5])
            yield Case("attention_split", f"{what}, sharp, 5 parts", sharp, attrs | {"n_split": 5}, strided_out=wide)
            far = (*operands[:3], Operand((size[0],), I32, fill=given(*(-3, 99, 2)[: size[0]])), operands[4])
            yield Case("attention_split", f"{what}, slots outside", far, attrs | {"n_split": 2, "cap": 1.3})


def _pairs() -> Iterator[Case]:
    """Keys of one type and values of another."""
    for size in (SIZES[0], SIZES[1], SIZES[4], SIZES[6]):
        q, k, v, *rest, gate = sized_operands(*size)
        attrs, few = {"scale": size[4] ** -0.5, "n_kv": size[5]}, size[1] <= 8
        ways = (of_blocks(k), replace(v, dtype=F16)), (replace(k, dtype=F16), of_blocks(v)), (k, of_blocks(v))
        for caches in ways:
            what = f"{_named(size)}, {caches[0].dtype.name} and {caches[1].dtype.name}"
            in_one, ins = caches[0].dtype is not DType.F32, (q, *caches, *rest)
            gated = attrs | {"extra": ("gate",)}
            yield Case("attention", what, (*ins, gate), gated, size[4] == 64, in_one=in_one and few)
            if size[1] == 1 and in_one:
                for n in (1, 3):
                    parts = attrs | {"n_split": n}
                    yield Case("attention_split", f"{what}, {n} parts", ins, parts, size[4] == 64)


def _ways() -> Iterator[Case]:
    """Each pair of types with each choice of operands; many tokens by cooperative matrices."""
    for size in ((2, 7, 4, 2, 64, 40, 70), (1, 40, 4, 2, 64, 130, 150)):
        q, k, v, *rest, gate = sized_operands(*size)
        more = {"gate": gate, "sinks": Operand((size[2],), fill=uniform(-3, 3))}
        k8, v8, few = of_blocks(k), of_blocks(v), size[1] <= 8
        pairs = (k8, v8), (k8, replace(v, dtype=F16)), (replace(k, dtype=F16), v8)
        for caches, extra in product(pairs, ((), ("gate",), ("sinks",), ("gate", "sinks"))):
            what = f"{_named(size)}, {caches[0].dtype.name} and {caches[1].dtype.name}, {extra}"
            ins = q, *caches, *rest, *(more[name] for name in extra)
            attrs = {"scale": 0.09, "n_kv": size[5], "extra": extra}
            case = Case("attention", what, ins, attrs, len(extra) != 1, in_one=few)
            yield case if few else case.in_halves()


def _rings() -> Iterator[Case]:
    for size, ways in RINGS:
        operands = cached_in_blocks(sized_operands(*size))
        more = {"gate": operands[5], "sinks": Operand((size[2],), fill=uniform(-3, 3))}
        for way in ways:
            ins = (*operands[:5], *(more[name] for name in way.get("extra", ())))
            attrs = {"scale": size[4] ** -0.5, "n_kv": size[5], **way}
            case = Case("attention", f"{_named(size)}, Q8_0, {way}", ins, attrs, size[4] == 64, in_one=size[1] <= 8)
            yield case.in_halves() if size[1] > 8 else case  # by cooperative matrices
            if size[1] == 1:
                parts = {"scale": 0.2, "n_kv": size[5], "window": way["window"], "n_split": 2}
                named = f"{_named(size)}, Q8_0, a window of {way['window']} in 2 parts"
                yield Case("attention_split", named, ins[:5], parts, strided_out=size[4] != 64)


def _latent() -> Iterator[Case]:
    """Values that are the first blocks of keys, and values of other sizes."""
    for n_seqs, n_heads, dim, dim_v, n_kv in ((1, 4, 96, 64, 70), (2, 3, 576, 512, 40), (2, 6, 64, 96, 33)):
        q, k, _, slots, pos, _ = sized_operands(n_seqs, 1, n_heads, 1, dim, n_kv, 80)
        k = of_blocks(k)
        v = of_blocks(Operand((*k.shape[:2], dim_v)))
        if dim_v < dim:
            v = replace(k, view=lambda t, n=dim_v: t.slice(2, 0, n))
        what, attrs = f"{n_seqs} x {n_heads} heads of {dim}, values of {dim_v}", {"scale": dim**-0.5, "n_kv": n_kv}
        yield Case("attention", f"{what}, Q8_0", (q, k, v, slots, pos), attrs, strided_out=dim == 96)
        parts = attrs | {"n_split": 3}
        yield Case("attention_split", f"{what}, Q8_0, 3 parts", (q, k, v, slots, pos), parts, strided_out=True)


def _writes() -> Iterator[Case]:
    """Of attention's inputs; scales of 96 and 32 share words with those of other heads."""
    sizes = ((1, 1, 4, 2, 64, 32), (3, 1, 16, 2, 256, 64), (2, 5, 3, 3, 96, 8), (1, 65, 2, 2, 32, 32))
    for size in sizes:
        n_heads, n_keys, dim = size[2:5]
        operands = input_operands(*size)
        blocks = *operands[:6], *map(of_blocks, operands[6:])
        norms = tuple(Operand((dim,), fill=uniform(0.5, 1.5)) for _ in "qk")
        biases = tuple(Operand((h * dim,)) for h in (n_heads, n_keys, n_keys))
        what = "{} x {} tokens, {} and {} heads of {}, {} turned, Q8_0".format(*size)
        both = {"eps": 1e-6, "extra": ("q_norm", "k_norm", *BIASES)}
        alone, scales = {"eps": 0.0, "extra": BIASES}, {"eps": 0.0, "extra": ("q_scales",), "neighbours": True}
        factors = Operand((37,), fill=uniform(0.5, 2))
        cases = (
            Case("qk_rope_cache", f"{what}, no norms", blocks, {"eps": 0.0}, strided_out=dim == 64),
            Case("qk_rope_cache", f"{what}, norms and biases", (*blocks, *norms, *biases), both, strided_out=dim != 64),
            Case("qk_rope_cache", f"{what}, norms", (*blocks, *norms), {"eps": 1e-6, "extra": ("q_norm", "k_norm")}),
            Case("qk_rope_cache", f"{what}, biases", (*blocks, *biases), alone, strided_out=dim == 64),
            Case("qk_rope_cache", f"{what}, scales", (*blocks, factors), scales, strided_out=dim != 64),
        )
        yield from (case.in_blocks() for case in cases)
    *others, keys, values_ = input_operands(*sizes[0])
    apart = *others, replace(keys, dtype=F16), of_blocks(values_)
    yield Case("qk_rope_cache", "keys of F16, values of Q8_0", apart, {"eps": 0.0}, in_one=False).in_blocks()


def _latent_writes() -> Iterator[Case]:
    for size in ((1, 1, 4, 32, 32, 16), (1, 65, 3, 512, 64, 64), (2, 3, 2, 64, 32, 8)):
        *operands, cache = latent_operands(*size)
        what = "{} x {} tokens, {} heads, {} normed, {} and {} turned, Q8_0".format(*size)
        for attrs in ({"eps": 1e-6}, {"eps": 0.5, "neighbours": True}):
            ins = (*operands, of_blocks(cache))
            yield Case("latent_cache", f"{what}, {attrs}", ins, attrs, strided_out=size[4] == 32).in_blocks()


def _distinct(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ids without repeats, of which a few lie outside of 0..8."""
    return rng.permutation(np.arange(-2, 11))[: shape[0]].astype(np.int32)


def _scaled(exponent: int) -> Fill:
    return lambda rng, shape: normal(rng, shape) * np.float32(2.0**exponent)


def _rows() -> Iterator[Case]:
    target = Operand((9, 96), Q8_0, cached=True)
    for name, make in (("plain", plain), ("rows apart", rows_apart), ("permuted", permuted), ("stepped", stepped)):
        yield Case("set_rows", f"Q8_0, {name} source", (target, _ids(_distinct), make((6, 96)))).in_blocks()
    for what, fill in (
        ("small", _scaled(-14)),
        ("scales that are denormal", _scaled(-19)),
        ("nothing that a scale holds", _scaled(-40)),
        ("large", _scaled(16)),
        ("zeros", values(0, -0.0)),
        ("a block of one number", values(*(0,) * 31, -3.5)),
        ("inf and NaN", values(*(1,) * 33, INF, *(2,) * 60, NAN, *(1,) * 40)),
    ):
        yield Case("set_rows", f"Q8_0, {what}", (target, _ids(_distinct), plain((6, 96), fill=fill))).in_blocks()
    repeats = Operand((65,), I32, fill=integers(0, 5))
    slot = Operand((3, 5, 64), Q8_0, lambda t: t.select(0, 1), cached=True)
    for src in (DType.F32, F16, DType.BF16):
        yield Case("set_rows", f"Q8_0, of {src.name}", (target, _ids(_distinct), flat_offset((6, 96), src))).in_blocks()
        what = f"Q8_0, of repeated ids the last counts, of {src.name}"
        yield Case("set_rows", what, (slot, repeats, plain((65, 64), src))).in_blocks()
    yield from _casts()


def _ids(fill: Fill) -> Operand:
    return Operand((6,), I32, fill=fill)


def _casts() -> Iterator[Case]:
    cache, attrs = Operand((3, 7, 96), Q8_0, cached=True), {"dtype": DType.F32}
    yield Case("cast", "Q8_0, whole", (cache,), attrs)
    for what, view in (
        ("first rows", lambda t: t.slice(1, 0, 5)),
        ("last rows", lambda t: t.slice(1, 3, 7)),
        ("first blocks", lambda t: t.slice(2, 0, 64)),
        ("one slot, first blocks", lambda t: t.slice(0, 1, 2).slice(1, 2, 7).slice(2, 0, 32)),
        ("slots behind rows", lambda t: t.permute(1, 0, 2)),
    ):
        yield Case("cast", f"Q8_0, {what}", (replace(cache, view=view),), attrs, strided_out=True)


CASES: tuple[Case, ...] = (
    *_reads(),
    *_pairs(),
    *_ways(),
    *_rings(),
    *_latent(),
    *_writes(),
    *_latent_writes(),
    *_rows(),
)
