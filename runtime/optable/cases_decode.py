"""Cases of the op table: attention of one token in parts, with its inputs made on the way."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.tensor import Tensor
from .case import Case, Fill, Operand, normal, uniform
from .cases_attention import given

F16, I32 = DType.F16, DType.I32
N_CTX, N_KV, N_TABLE = 288, 256, 300
LONG_CTX, LONG_KV = 2080, 2048
HEADS = (8, 1), (16, 2), (12, 3), (16, 1), (10, 2), (7, 1)
NORMS = {"extra": ("q_norm", "k_norm")}


@dataclass(frozen=True)
class Token:
    """One of a sequence: its slot, the position that it is turned by, the last that it sees, its row there or -1."""

    slot: int
    pos: int
    seen: int
    own: int

    def row(self, n_ctx: int) -> int:
        return self.slot * n_ctx + self.own if self.own >= 0 else -1


def _at(slot: int, pos: int) -> Token:
    return Token(slot, pos, pos, pos)


PADDING = Token(-1, -1, -1, -1)
STEPS: tuple[tuple[Token, ...], ...] = (
    (_at(0, 0),),
    (_at(1, 15), PADDING),
    (_at(2, 31), _at(0, 200)),
    (_at(1, 254),),
    (PADDING, _at(0, 255), _at(2, 1)),
    (Token(1, 77, 40, -1), Token(2, 300, 100, 50), Token(0, -2, -1, 3), Token(3, 5, 60, 61)),
)  # the last: no row, one amid others, one that sees nothing, one beyond what it sees
WITHOUT_PADDING = 0, 2, 3  # of them
LONG_STEPS: tuple[tuple[Token, ...], ...] = (
    (_at(0, 0), PADDING),
    (_at(1, 300),),
    (_at(2, 127), _at(0, 900)),
    (_at(1, 256),),
    (PADDING, _at(0, LONG_KV - 1), _at(2, 1)),
    (Token(1, 77, 640, -1), Token(2, 300, 800, 50), Token(0, -2, -1, 3), Token(3, 5, 600, 601)),
)


def _used_by(tokens: tuple[Token, ...]) -> Fill:
    """Numbers where a token sees others' rows, and none elsewhere, nor in its own."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        made = np.resize(np.array((np.nan, np.inf, -np.inf), np.float32), shape)
        for token in (t for t in tokens if t.slot >= 0):
            seen = [s for s in range(token.seen + 1) if s != token.own]
            made[token.slot, seen] = normal(rng, (len(seen), shape[-1]))
        return made

    return fill


def _part(t: Tensor) -> Tensor:
    """The first half of each head of a tensor twice as wide."""
    return t.slice(t.ndim - 1, 0, t.shape[-1] // 2)


def operands(
    tokens: tuple[Token, ...], n_heads: int, n_keys: int, dim: int, n_turned: int, n_ctx: int = N_CTX
) -> tuple:
    """q, k, v, pos, table, rows, both caches, slots, seen; q and v with others between their heads."""
    n, cache = len(tokens), Operand((4, n_ctx, n_keys * dim), F16, fill=_used_by(tokens))
    pos, seen = (
        Operand((n, 1), I32, fill=given(*all_)) for all_ in ([t.pos for t in tokens], [t.seen for t in tokens])
    )
    rows, slots = (
        Operand((n,), I32, fill=given(*all_)) for all_ in ([t.row(n_ctx) for t in tokens], [t.slot for t in tokens])
    )
    table = Operand((N_TABLE, n_turned), fill=uniform(-1, 1))
    q, v = (Operand((n, 1, heads, 2 * dim), view=_part) for heads in (n_heads, n_keys))
    return q, Operand((n, 1, n_keys, dim)), v, pos, table, rows, cache, cache, slots, seen


def _case(what: str, ins: tuple, attrs: dict, strided: bool = False, op: str = "rope_attention_split") -> Case:
    made = Case(op, what, ins, attrs, strided, in_one=False, kept=frozenset({3, *range(5, 10)}))
    return made.in_halves()


def _cases() -> Iterator[Case]:
    for i, (dim, turned) in enumerate(((64, 64), (128, 96), (256, 64), (64, 32), (256, 256))):
        norms = tuple(Operand((dim,), fill=uniform(0.5, 1.5)) for _ in "qk")
        for j, tokens in enumerate(STEPS):
            n_heads, n_keys = HEADS[(2 * i + j) % len(HEADS)]
            ins = operands(tokens, n_heads, n_keys, dim, turned)
            attrs = {"scale": dim**-0.5, "n_kv": N_KV, "n_split": (8, 16, 100)[(i + j) % 3], "eps": 0.0}
            what = f"{n_heads} heads on {n_keys} of {dim}, {turned} turned, step {j}, {attrs['n_split']} parts"
            more = {"neighbours": True} if (i + j) % 2 else {}
            normed = attrs | more | NORMS | {"eps": 0.5 if j == 1 else 1e-6}
            yield _case(f"{what}, norms, {more}", (*ins, *norms), normed)
            yield _case(f"{what}, {more}", ins, attrs | more | ({"cap": 1.3} if j % 2 else {}))
    yield from _long()
    yield from _others()
    yield from _whole()


def _long() -> Iterator[Case]:
    """Over keys enough for matrices, in parts of a tile and less, and of several."""
    for i, (dim, turned) in enumerate(((64, 64), (128, 96), (256, 64))):
        norms = tuple(Operand((dim,), fill=uniform(0.5, 1.5)) for _ in "qk")
        for j, tokens in enumerate(LONG_STEPS):
            n_heads, n_keys = HEADS[(2 * i + j) % len(HEADS)]
            ins = operands(tokens, n_heads, n_keys, dim, turned, LONG_CTX)
            attrs = {"scale": dim**-0.5, "n_kv": LONG_KV, "n_split": (1, 3, 40)[(i + j) % 3], "eps": 1e-6}
            attrs |= ({"neighbours": True} if j % 2 else {}) | ({"cap": 1.3} if j % 3 == 1 else {})
            is_normed, what = (i + j // 2) % 2 == 0, f"{n_heads} heads on {n_keys} of {dim}, {turned} turned"
            ins, attrs = (*ins, *(norms if is_normed else ())), attrs | (NORMS if is_normed else {})
            yield _case(f"{what}, long, step {j}, {attrs}", ins, attrs)


def _whole() -> Iterator[Case]:
    """The same without parts, over keys that come in several turns."""
    ways = (NORMS, {}, {"extra": ("q_norm", "k_norm", "gate")}, {"extra": ("gate",)})
    for i, (dim, turned) in enumerate(((64, 64), (128, 96), (256, 64))):
        more = {name: Operand((dim,), fill=uniform(0.5, 1.5)) for name in NORMS["extra"]}
        for j, tokens in enumerate(STEPS):
            n_heads, n_keys = (*HEADS, (4, 2))[(2 * i + j) % (len(HEADS) + 1)]
            ins = operands(tokens, n_heads, n_keys, dim, turned)
            more["gate"] = Operand((len(tokens), 1, n_heads, 2 * dim), view=_part)
            attrs = {"scale": dim**-0.5, "n_kv": N_KV, "eps": 1e-6, **({"neighbours": True} if (i + j) % 2 else {})}
            attrs |= ({"cap": 1.3} if j % 3 == 1 else {}) | ways[(i + j) % len(ways)]
            given_ = tuple(more[name] for name in attrs.get("extra", ()))
            what = f"{n_heads} heads on {n_keys} of {dim}, {turned} turned, step {j}, {attrs}"
            made = _case(what, (*ins, *given_), attrs, (i, j) == (2, 2), "rope_attention")
            yield replace(made, in_parts=False)  # which multiply what no token sees by 0
            if j in WITHOUT_PADDING:
                cache = Operand(ins[6].shape, F16)
                yield _case(
                    f"{what}, numbers everywhere", (*ins[:6], cache, cache, *ins[8:], *given_), attrs, op=made.op
                )


def _others() -> Iterator[Case]:
    """What runs in parts: other caches, sizes and numbers of angles, and parts that stand apart."""
    for what, sizes, dtype in (
        ("F32 caches", (8, 2, 64, 32), DType.F32),
        ("heads of 20", (6, 3, 20, 8), DType.F32),
        ("four numbers turned", (8, 1, 64, 4), F16),
        ("two heads a key", (4, 2, 128, 128), F16),
        ("parts apart", (8, 1, 64, 64), F16),
    ):
        ins = operands(STEPS[2], *sizes)
        norms = tuple(Operand((sizes[2],), fill=uniform(0.5, 1.5)) for _ in "qk")
        ins = (*ins[:6], *(replace(cache, dtype=dtype) for cache in ins[6:8]), *ins[8:], *norms)
        attrs = {"scale": 0.1, "n_kv": N_KV, "n_split": 8, "eps": 1e-6, **NORMS}
        yield _case(what, ins, attrs, what == "parts apart")


CASES: tuple[Case, ...] = tuple(_cases())
