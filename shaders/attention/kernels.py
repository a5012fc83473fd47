"""Fused kernels of attention: its inputs with both cache writes, the scan over the cache, the combination of parts."""

from dataclasses import replace

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.rows import NOT_HELD, SUBGROUPS
from ..kernel import (
    Argument,
    Defines,
    Features,
    Kernel,
    KernelCall,
    Variant,
    fills_subgroup,
    grid_of,
    placed,
    strides,
)
from ..matmul.mul_mat_args import in_words
from ..operands import FLOATS, INTS
from . import attention_decode_few, attention_decode_matrix, attention_matrix, attention_whole, latent_cache
from .attention_args import (
    CACHE,
    OF_HALVES,
    PAIR_WAYS,
    Q8_0,
    WAYS,
    apart,
    kept_as,
    pair,
    row_of_blocks,
    scales,
    scan,
    scanned,
    tokens_joined,
    unpaired,
    values,
)

MAX_DIM, MAX_DIM_SCAN = 512, 640  # of attention.comp
SOFTWARE_TOKENS = 8  # on a CPU longer prompts need a kernel whose loads serve several queries, or products
SOFTWARE_LANES = 8
EIGHT = 8  # invocations that make a key's score
DECODE_LOCAL, DECODE_TILE, DECODE_HEADS, MOST_HELD = 256, 128, 8, 2048
COMBINE_LOCAL, COMBINE_SPAN, MOST_PARTS, FEW_PARTS = 256, 64, 256, 64
LANES = {"attention": 128, "qk_rope_cache": 64}
QK_LANES = 256  # at most
_GATE: Defines = (("GATE", ""),)
_NORM: Defines = (("NORM", ""),)
_BIAS: Defines = (("BIAS", ""),)
_SCALES: Defines = (("SCALES", ""),)


def _lanes(op: str, features: Features) -> tuple[int, Defines]:
    """Invocations of a workgroup: on a CPU one subgroup, which needs no barrier to agree."""
    if features.software:
        return features.subgroup_size or 8, SUBGROUPS if features.subgroup_size >= 4 else ()
    return min(LANES[op], features.max_workgroup), SUBGROUPS if features.subgroup_size >= 4 else ()


def _few_tokens(node: Node, features: Features) -> str:
    n_tokens = node.inputs[0].shape[1]
    if features.software and features.subgroup_size >= SOFTWARE_LANES and n_tokens > SOFTWARE_TOKENS:
        return f"{n_tokens} tokens on a CPU, where products are faster, expected at most {SOFTWARE_TOKENS}"
    return _unread(node)


def _unread(node: Node) -> str:
    """Why the caches' heads are not read."""
    k, v = node.inputs[1:3]
    return unpaired(node) or apart(k, node.inputs[0].shape[3]) or apart(v, _dim_v(node))


def _dim_v(node: Node) -> int:
    q, k, v = node.inputs[:3]
    return v.shape[2] * q.shape[3] // k.shape[2]


def _lower_attention(node: Node, features: Features) -> KernelCall:
    n_seqs, n_tokens, n_heads, dim = node.inputs[0].shape
    n_steps = node.attrs["n_split"] if node.op == "attention_split" else n_tokens
    flags, buffers, arguments = scan(node, "step")
    lanes, defines = _lanes("attention", features)
    grid = grid_of(n_seqs * n_steps * n_heads)
    constants = {"local_size_x": lanes, **NOT_HELD, "DIM": dim, "DIM_V": _dim_v(node), **values(node)}
    return KernelCall("attention", (*flags, *defines), buffers, arguments, grid, constants)


def _many_tokens(node: Node, features: Features) -> str:
    """Prompts on a CPU; see attention_lanes.comp."""
    q = node.inputs[0]
    if not features.software or features.subgroup_size < SOFTWARE_LANES:
        return f"not a CPU of subgroups of {SOFTWARE_LANES}"
    if Q8_0 in (dtypes := [t.dtype for t in node.inputs[1:3]]) or dtypes[0] is not dtypes[1]:
        return f"caches of {' and '.join(t.name for t in dtypes)}, expected one of F32 or F16"
    fits = q.shape[1] > SOFTWARE_TOKENS and q.shape[-1] in (32, 64)
    return "" if fits else f"{q.shape[1]} tokens, heads of {q.shape[-1]}: for more than {SOFTWARE_TOKENS}, of 32 or 64"


def _lower_lanes(node: Node, features: Features) -> KernelCall:
    n_seqs, n_tokens, n_heads, dim = node.inputs[0].shape
    buffers, arguments = scanned(node, "seq token head")
    arguments["n_tokens"] = n_tokens
    for gate in node.inputs[5:]:
        buffers["gate"] = gate
        arguments |= placed("gate", gate, "seq token head")
    defines = (*(_GATE if "gate" in buffers else ()), *kept_as(buffers["k"].dtype))
    n_tiles = -(-n_tokens // SOFTWARE_LANES)
    constants = {"local_size_x": SOFTWARE_LANES, "DIM": dim}
    return KernelCall("attention_lanes", defines, buffers, arguments, grid_of(n_tiles * n_heads * n_seqs), constants)


def _decodes(node: Node, features: Features) -> str:
    return _for_large_gpus(node, features) or _unread(node)


def _for_large_gpus(_node: Node, features: Features) -> str:
    """One token on a GPU; see attention_decode.comp."""
    fits = not features.software and features.subgroup_size >= EIGHT and features.max_workgroup >= DECODE_LOCAL
    return "" if fits else f"not a GPU of workgroups of {DECODE_LOCAL} in subgroups of {EIGHT}"


def _decode_heads(share: int, dim: int) -> int:
    """Query heads of a workgroup: as many of those that share a key as registers and shared memory hold."""
    return max(n for n in range(1, min(share, DECODE_HEADS) + 1) if share % n == 0 and (n == 1 or n * dim <= MOST_HELD))


def _lower_decode(node: Node, features: Features) -> KernelCall:
    q, k, v = node.inputs[:3]
    n_seqs, _, n_heads, dim = q.shape
    n_parts, heads = node.attrs["n_split"], _decode_heads(n_heads // (k.shape[2] // dim), dim)
    buffers, arguments = scanned(node, "seq head part")
    del arguments["q_token"], arguments["pos_token"]  # there is one
    arguments |= {"n_parts": n_parts, "cap": float(node.attrs.get("cap", 0))}
    arguments |= {"window": node.attrs.get("window", 0), "n_ctx": k.shape[1]}
    del arguments["cache_slot"], arguments["cache_row"]
    for name in "kv":
        arguments |= strides(name, _in_quads(buffers[name]), "slot row")
    grid = grid_of(n_seqs * n_parts * n_heads // heads)
    known = {"DIM": dim, "HEADS": heads, "TILE": DECODE_TILE, **scales(k, v)}
    known["RING"] = int(k.shape[1] < node.attrs["n_kv"])
    constants, cached = {"local_size_x": DECODE_LOCAL, **known}, pair(k.dtype, v.dtype)
    return KernelCall("attention_decode", cached, buffers, arguments, grid, constants)


def _in_quads(cache: Tensor) -> list[int]:
    """Strides; a quad of Q8_0 is a word."""
    return [s if cache.dtype is Q8_0 else s // 4 for s in in_words(cache).strides]


def _few_parts(node: Node, features: Features) -> str:
    n = node.inputs[0].shape[2]
    return f"{n} parts, at most {MOST_PARTS}" if n > MOST_PARTS else _for_large_gpus(node, features)


def _lower_combine_wide(node: Node, features: Features) -> KernelCall:
    call, (n_seqs, n_heads, _, width) = _lower_combine(node, features), node.inputs[0].shape
    grid = grid_of(n_seqs * n_heads * -(-(width - 2) // COMBINE_SPAN))
    constants = {"local_size_x": COMBINE_LOCAL, **NOT_HELD, "SPAN": COMBINE_SPAN, "MOST_PARTS": MOST_PARTS}
    return replace(call, stem="attention_combine_wide", grid=grid, constants=constants)


def _fewer_parts(node: Node, features: Features) -> str:
    """Than a subgroup's invocations."""
    n, most = node.inputs[0].shape[2], min(FEW_PARTS, features.subgroup_size)
    fits = n <= most and features.subgroup_size <= COMBINE_SPAN
    return _for_large_gpus(node, features) or ("" if fits else f"{n} parts, at most {most}")


def _lower_combine_few(node: Node, features: Features) -> KernelCall:
    call, (n_seqs, n_heads, n, width) = _lower_combine(node, features), node.inputs[0].shape
    grid = grid_of(n_seqs * n_heads * -(-(width - 2) // COMBINE_SPAN))
    known = {"SUBGROUP": features.subgroup_size, "EIGHTS": -(-n // 8), "HEADS": n_heads}
    constants = {"local_size_x": COMBINE_SPAN, **known}
    return replace(call, stem="attention_combine_few", grid=grid, constants=constants)


def _lower_combine(node: Node, features: Features) -> KernelCall:
    (parts, *more), (y,), extra = node.inputs, node.outputs, node.attrs.get("extra", ())
    n_seqs, n_heads, n_split, width = parts.shape
    buffers = {"parts": parts, "y": y, **dict(zip(extra, more, strict=True))}
    arguments = {"n_seqs": n_seqs, "n_heads": n_heads, "n_split": n_split, "dim": width - 2, "parts_at": parts}
    for name in ("y", "gate") if "gate" in extra else ("y",):
        t = buffers[name]
        arguments |= strides(name, (t, t.layout.strides[0], t.layout.strides[2]), "at seq head")
    arguments |= {"sinks_at": buffers["sinks"]} if "sinks" in extra else {}
    lanes, defines = 8 if features.software else 64, tuple((name.upper(), "") for name in extra)
    grid = grid_of(n_seqs * n_heads)
    return KernelCall("attention_combine", defines, buffers, arguments, grid, {"local_size_x": lanes})


def _lower_qk(node: Node, features: Features) -> KernelCall:
    q, k, v, pos, table, rows, k_cache, v_cache, *more = node.inputs
    given = dict(zip(node.attrs.get("extra", ()), more, strict=True))
    n_tokens, n_heads, n_heads_kv, dim = q.shape[0] * q.shape[1], q.shape[2], k.shape[2], q.shape[3]
    buffers = {"q": q, "k": k, "v": v, "pos": pos, "table": table, "rows": rows, "y": node.outputs[0]}
    buffers |= {"k_cache": k_cache, "v_cache": v_cache, **given}
    arguments: dict[str, Argument] = {f"{name}_at": t for name, t in buffers.items()}
    arguments |= {"n_tokens": n_tokens, "n_heads": n_heads, "n_heads_kv": n_heads_kv, "dim": dim}
    arguments |= {"half_dims": table.shape[1] // 2, "n_table": table.shape[0], "n_rows": k_cache.shape[0]}
    for name in "qkvy":
        arguments |= strides(name, tokens_joined(buffers[name]).strides, "token head")
    arguments |= row_of_blocks(k_cache)
    own = (("q_norm", _NORM), ("q_bias", _BIAS), ("q_scales", _SCALES))
    flags = (*(d for name, defines in own if name in given for d in defines), *kept_as(k_cache.dtype))
    if "q_norm" in given:
        arguments["eps"] = float(node.attrs["eps"])
    if "q_scales" in given:
        arguments["n_scales"] = given["q_scales"].shape[0]
    lanes, defines = _lanes("qk_rope_cache", features)
    if not features.software:  # an element each, so that none waits for another
        lanes = max(lanes, min(QK_LANES, 1 << (dim - 1).bit_length(), features.max_workgroup))
    grid = grid_of(n_tokens * (n_heads + 2 * n_heads_kv))
    pairs = {"NEIGHBOURS": int(node.attrs.get("neighbours", False))}
    constants = {"local_size_x": lanes, **NOT_HELD, "DIM": dim, **pairs}
    return KernelCall("qk_rope_cache", (*flags, *defines), buffers, arguments, grid, constants)


def _qk_rule(node: Node, _features: Features) -> str:
    extra = node.attrs.get("extra", ())
    if "q_scales" in extra and len(extra) > 1:
        return f"q_scales beside {extra[:-1]}"
    return apart(node.inputs[6], node.inputs[0].shape[3])


def _variants(stem: str, *flags: str) -> tuple[Variant, ...]:
    own: Defines = tuple((flag, "") for flag in flags)
    ways = WAYS if stem == "qk_rope_cache" else PAIR_WAYS
    return tuple((stem, (*own, *cached, *more)) for cached in ways for more in ((), SUBGROUPS))


def _lower_rope(node: Node, features: Features) -> KernelCall:
    (x, pos, table), (y,) = node.inputs, node.outputs
    n_batch, n_tokens, n_heads, n_inner = x.shape
    arguments = {
        **dict(n_batch=n_batch, n_tokens=n_tokens, n_heads=n_heads, n_inner=n_inner),
        **dict(half_dims=table.shape[1] // 2, n_table=table.shape[0]),
        **placed("x", x, "batch token head inner"),
        **placed("pos", pos, "batch token"),
        **placed("table", table, "row inner"),
        **placed("y", y, "batch token head inner"),
    }
    buffers, grid = {"x": x, "pos": pos, "table": table, "y": y}, grid_of(n_batch * n_tokens * n_heads)
    constants = {"local_size_x": fills_subgroup(features), "NEIGHBOURS": int(node.attrs.get("neighbours", False))}
    return KernelCall("rope", (), buffers, arguments, grid, constants)


_HEADS = FLOATS.rows.axis(-1, most=MAX_DIM)
_SCAN = {"q": _HEADS, "k": CACHE, "v": CACHE.strided_as("k").shaped_as("k"), "slots": INTS, "pos": INTS}
_GATED = _SCAN | {"gate?": FLOATS.rows}
_WITH = _SCAN | {"extra*": FLOATS.rows}
_OTHER_VALUES = {"q": FLOATS.rows.axis(-1, most=MAX_DIM_SCAN), "v": CACHE.axis(-1, least=1).cut}
_QUADS = {"q": _HEADS.aligned(4), "k": CACHE.aligned(4), "v": _SCAN["v"].aligned(4)}
_TOKENS, _WHOLE = _HEADS.joined(2), FLOATS.contiguous
_QK = {
    "q": _TOKENS,
    "k": _TOKENS,
    "v": _TOKENS,
    "pos": INTS.contiguous,
    "table": _WHOLE,
    "rows": INTS.contiguous,
    "k_cache": CACHE.contiguous,
    "v_cache": CACHE.contiguous.typed_as("k_cache"),
    "q_norm?": _WHOLE,
    "k_norm?": _WHOLE,
    "q_bias?": _WHOLE,
    "k_bias?": _WHOLE,
    "v_bias?": _WHOLE,
    "q_scales?": _WHOLE,
}
_TURNED = {"y": _TOKENS, **dict.fromkeys(("k_written", "v_written"), CACHE.contiguous.typed_as("k_cache"))}
_Y = {"y": FLOATS.rows}

_OPTIONS = frozenset({"gate", "sinks", "window", "cap"})
_PAIRS = frozenset({"neighbours"})
_LANES = tuple(("attention_lanes", (*gate, *cached)) for gate in ((), _GATE) for cached in WAYS[:2])
_EXTRAS = (), ("GATE",), ("SINKS",), ("GATE", "SINKS")
_WHOLE_SCAN = tuple(v for extras in _EXTRAS for v in _variants("attention", *extras))
_COMBINE, _COMBINE_WIDE, _COMBINE_FEW = (
    tuple((f"attention_combine{way}", tuple((flag, "") for flag in extras)) for extras in _EXTRAS)
    for way in ("", "_wide", "_few")
)
_OF_HALVES = _SCAN | {"k": OF_HALVES, "v": OF_HALVES.shaped_as("k")}
_DECODE = _SCAN | {"q": _HEADS.axis(-1, multiple=4), "k": _QUADS["k"], "v": _QUADS["v"]}
_QK_EXTRAS = {"q_norm", "k_norm", "q_bias", "k_bias", "v_bias", "q_scales"}
_QK_FLAGS = (), ("NORM",), ("BIAS",), ("NORM", "BIAS"), ("SCALES",)
_QK_VARIANTS = tuple(v for flags in _QK_FLAGS for v in _variants("qk_rope_cache", *flags))
_PARTS, _BESIDE = {"parts": _WHOLE, "extra*": FLOATS.rows}, frozenset({"gate", "sinks"})
_ROPE = {"x": FLOATS, "pos": INTS, "table": FLOATS}

KERNELS = (
    Kernel(
        "attention",
        _WITH | _QUADS,
        _Y,
        attention_matrix.lower,
        attention_matrix.VARIANTS,
        attention_matrix.rule,
        _OPTIONS,
    ),
    Kernel("attention", _GATED, _Y, _lower_lanes, _LANES, _many_tokens, frozenset({"gate"})),
    Kernel("attention", _WITH | _OTHER_VALUES, _Y, _lower_attention, _WHOLE_SCAN, _few_tokens, _OPTIONS),
    Kernel(
        "attention_split",
        _OF_HALVES,
        _Y,
        attention_decode_matrix.lower,
        attention_decode_matrix.VARIANTS,
        attention_decode_matrix.rule,
        frozenset({"cap", "grouped", "by_matrices"}),
    ),
    Kernel(
        "attention_split",
        _OF_HALVES,
        _Y,
        attention_decode_few.lower,
        attention_decode_few.VARIANTS,
        attention_decode_few.rule,
        frozenset({"cap", "grouped", "at_once"}),
    ),
    Kernel(
        "attention_split",
        _DECODE,
        _Y,
        _lower_decode,
        tuple(("attention_decode", cached) for cached in PAIR_WAYS),
        _decodes,
        frozenset({"window", "cap", "grouped"}),
    ),
    Kernel(
        "attention_split",
        _SCAN | _OTHER_VALUES,
        _Y,
        _lower_attention,
        _variants("attention", "SPLIT"),
        _few_tokens,
        frozenset({"window", "cap"}),
    ),
    Kernel("attention_combine", _PARTS, _Y, _lower_combine_few, _COMBINE_FEW, _fewer_parts, _BESIDE),
    Kernel("attention_combine", _PARTS, _Y, _lower_combine_wide, _COMBINE_WIDE, _few_parts, _BESIDE),
    Kernel("attention_combine", _PARTS, _Y, _lower_combine, _COMBINE, options=_BESIDE),
    Kernel("qk_rope_cache", _QK, _TURNED, _lower_qk, _QK_VARIANTS, _qk_rule, _PAIRS | _QK_EXTRAS),
    *attention_decode_few.KERNELS,
    *attention_decode_matrix.KERNELS,
    *attention_whole.KERNELS,
    *latent_cache.KERNELS,
    Kernel("rope", _ROPE, {"y": FLOATS}, _lower_rope, (("rope", ()),), options=_PAIRS),
)
