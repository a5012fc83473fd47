"""Fused kernels of attention: its inputs with both cache writes, the scan over the cache, the combination of parts."""

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..kernel import At, Defines, Features, Kernel, KernelCall, fills_subgroup, grid_of, takes_all
from ..rows.kernels import SUBGROUPS

MAX_DIM = 512
SOFTWARE_TOKENS = 8  # on a CPU longer prompts need a kernel whose loads serve several queries, or products
SOFTWARE_LANES = 8
LANES = {"attention": 128, "qk_rope_cache": 64}


def _inner(*tensors: Tensor) -> str:
    bad = next((t for t in tensors if not t.layout.rows_contiguous), None)
    return f"{bad} has inner stride {bad.layout.strides[-1]}, expected 1" if bad else ""


def _same_caches(k: Tensor, v: Tensor) -> str:
    same = k.layout.strides == v.layout.strides
    return "" if same else f"caches of other strides: {k.layout.strides}, {v.layout.strides}"


def _dim(n: int) -> str:
    return "" if n <= MAX_DIM else f"heads of {n}, expected at most {MAX_DIM}"


def _lanes(op: str, features: Features) -> tuple[int, Defines]:
    """Invocations of a workgroup: on a CPU one subgroup, which needs no barrier to agree."""
    if features.software:
        return features.subgroup_size or 8, SUBGROUPS if features.subgroup_size >= 4 else ()
    return min(LANES[op], features.max_workgroup), SUBGROUPS if features.subgroup_size >= 4 else ()


def _refuse_attention(node: Node, features: Features) -> str:
    q, k, v, _slots, _pos, *gate = node.inputs
    if features.software and features.subgroup_size >= SOFTWARE_LANES and q.shape[1] > SOFTWARE_TOKENS:
        return f"{q.shape[1]} tokens on a CPU, where products are faster, expected at most {SOFTWARE_TOKENS}"
    return _same_caches(k, v) or _inner(q, k, v, *gate, *node.outputs) or _dim(q.shape[-1])


def _lower_attention(node: Node, features: Features) -> KernelCall:
    q, k, v, slots, pos, *gate = node.inputs
    (y,) = node.outputs
    n_seqs, n_tokens, n_heads, dim = q.shape
    split = node.op == "attention_split"
    n_steps = node.attrs["n_split"] if split else n_tokens
    n_kv = node.attrs["n_kv"]
    y_seq, y_first, y_second, _ = y.layout.strides
    y_step, y_head = (y_second, y_first) if split else (y_first, y_second)
    push = (
        *(n_seqs, n_heads, n_steps, dim, n_heads // (k.shape[2] // dim), n_kv, -(-n_kv // n_steps), k.shape[0]),
        *(*k.layout.strides[:2], slots.layout.strides[0]),
        *(*q.layout.strides[:3], y_seq, y_step, y_head, *pos.layout.strides),
        *(At(0), At(1), At(2), At(3), At(4), At(5), float(node.attrs["scale"])),
        *(w for t in gate for w in (*t.layout.strides[:3], At(6))),
    )
    lanes, defines = _lanes("attention", features)
    defines = (*((("SPLIT", ""),) if split else ()), *defines)
    grid = grid_of(n_seqs * n_steps * n_heads)
    return KernelCall("attention", defines, (q, k, v, slots, pos, y, *gate), push, grid, (lanes, 0, 0, dim))


def _refuse_lanes(node: Node, features: Features) -> str:
    """Prompts on a CPU; see attention_lanes.comp."""
    q, k, v, *_, gate = node.inputs
    if not features.software or features.subgroup_size < SOFTWARE_LANES:
        return f"not a CPU of subgroups of {SOFTWARE_LANES}"
    if q.shape[1] <= SOFTWARE_TOKENS or q.shape[-1] not in (32, 64):
        return f"{q.shape[1]} tokens, heads of {q.shape[-1]}: for more than {SOFTWARE_TOKENS}, of 32 or 64"
    return _same_caches(k, v) or _inner(q, k, v, gate, *node.outputs)


def _lower_lanes(node: Node, features: Features) -> KernelCall:
    q, k, _v, slots, pos, gate = node.inputs
    (y,) = node.outputs
    n_seqs, n_tokens, n_heads, dim = q.shape
    push = (
        *(n_seqs, n_heads, n_tokens, n_heads // (k.shape[2] // dim), node.attrs["n_kv"], k.shape[0]),
        *(*k.layout.strides[:2], slots.layout.strides[0]),
        *(*q.layout.strides[:3], *y.layout.strides[:3], *pos.layout.strides),
        *(At(0), At(1), At(2), At(3), At(4), At(5), float(node.attrs["scale"])),
        *(*gate.layout.strides[:3], At(6)),
    )
    n_tiles = -(-n_tokens // SOFTWARE_LANES)
    args = (*node.inputs[:5], y, gate)
    return KernelCall("attention_lanes", (), args, push, grid_of(n_tiles * n_heads * n_seqs), (SOFTWARE_LANES, dim))


def _refuse_combine(node: Node, _features: Features) -> str:
    parts, gate = node.inputs
    return "" if parts.layout.is_contiguous and not _inner(gate, *node.outputs) else f"{parts}: not contiguous"


def _lower_combine(node: Node, features: Features) -> KernelCall:
    (parts, gate), (y,) = node.inputs, node.outputs
    n_seqs, n_heads, n_split, width = parts.shape
    strides = (s for t in (gate, y) for s in (t.layout.strides[0], t.layout.strides[2]))
    push = (n_seqs, n_heads, n_split, width - 2, *strides, At(0), At(1), At(2))
    lanes = 8 if features.software else 64
    return KernelCall("attention_combine", (), (parts, gate, y), push, grid_of(n_seqs * n_heads), (lanes,))


def _tokens(t: Tensor) -> Layout | None:
    """[B, T, heads, D] with the tokens of all sequences on one axis."""
    return t.layout.reshape((t.shape[0] * t.shape[1], *t.shape[2:]))


def _refuse_qk(node: Node, _features: Features) -> str:
    q, k, v, q_norm, k_norm, pos, table, rows, k_cache, v_cache = node.inputs
    rigid = (q_norm, k_norm, pos, table, rows, k_cache, v_cache)
    if bad := next((t for t in rigid if not t.layout.is_contiguous), None):
        return f"{bad} is not contiguous"
    if bad := next((t for t in (q, k, v, node.outputs[0]) if _tokens(t) is None), None):
        return f"{bad}: the tokens of its sequences have no common stride"
    return _inner(q, k, v, node.outputs[0]) or _dim(q.shape[-1])


def _lower_qk(node: Node, features: Features) -> KernelCall:
    q, k, _v, *_, table, _rows, k_cache, _v_cache = node.inputs
    strides = (s for t in (*node.inputs[:3], node.outputs[0]) for s in _tokens(t).strides[:2])  # pyright: ignore
    n_tokens, n_heads, n_heads_kv, dim = q.shape[0] * q.shape[1], q.shape[2], k.shape[2], q.shape[3]
    sizes = (n_tokens, n_heads, n_heads_kv, dim, table.shape[1] // 2, table.shape[0], k_cache.shape[0])
    args = (*node.inputs[:8], *node.outputs)
    push = (*sizes, *strides, *(At(i) for i in range(len(args))), float(node.attrs["eps"]))
    lanes, defines = _lanes("qk_rope_cache", features)
    grid = grid_of(n_tokens * (n_heads + 2 * n_heads_kv))
    return KernelCall("qk_rope_cache", defines, args, push, grid, (lanes, 0, 0, dim))


def _variants(stem: str, *flags: str) -> tuple[tuple[str, Defines], ...]:
    own: Defines = tuple((flag, "") for flag in flags)
    return (stem, own), (stem, (*own, *SUBGROUPS))


def _lower_rope(node: Node, features: Features) -> KernelCall:
    (x, pos, table), (y,) = node.inputs, node.outputs
    strides = tuple(s for t in (x, pos, table, y) for s in t.layout.strides)
    n_groups = x.shape[0] * x.shape[1] * x.shape[2]
    push = (At(0), At(1), At(2), At(3), *x.shape, table.shape[1] // 2, table.shape[0], *strides)
    return KernelCall("rope", (), (x, pos, table, y), push, grid_of(n_groups), (fills_subgroup(features),))


KERNELS = (
    Kernel("attention", _refuse_lanes, _lower_lanes, (("attention_lanes", ()),)),
    Kernel("attention", _refuse_attention, _lower_attention, _variants("attention")),
    Kernel("attention_split", _refuse_attention, _lower_attention, _variants("attention", "SPLIT")),
    Kernel("attention_combine", _refuse_combine, _lower_combine, (("attention_combine", ()),)),
    Kernel("qk_rope_cache", _refuse_qk, _lower_qk, _variants("qk_rope_cache")),
    Kernel("rope", takes_all, _lower_rope, (("rope", ()),)),
)
