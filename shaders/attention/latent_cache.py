"""The kernel of latent attention's inputs: see latent_cache.comp."""

from ...runtime.ir.graph import Node
from ..common.rows import NOT_HELD, SUBGROUPS, lanes_of_row, uses_subgroups
from ..kernel import Argument, Features, Kernel, KernelCall, grid_of, strides
from ..operands import FLOATS, INTS
from .attention_args import CACHE, WAYS, apart, kept_as, row_of_blocks, tokens_joined

MOST_LANES = 256


def _lower(node: Node, features: Features) -> KernelCall:
    q, kv, norm, pos, table, rows, cache = node.inputs
    (n_seqs, n_tokens, n_heads, n_turned), (y, _) = q.shape, node.outputs
    buffers = {"q": q, "kv": kv, "norm": norm, "pos": pos, "table": table, "rows": rows, "y": y, "cache": cache}
    arguments: dict[str, Argument] = {f"{name}_at": t for name, t in buffers.items()}
    arguments |= {"n_tokens": n_seqs * n_tokens, "n_heads": n_heads, "n_latent": norm.shape[0], "n_turned": n_turned}
    arguments |= {"half_dims": table.shape[1] // 2, "n_table": table.shape[0], "n_rows": cache.shape[0]}
    arguments |= {"eps": float(node.attrs["eps"]), **row_of_blocks(cache)}
    for name, t in (("q", q), ("y", y)):
        arguments |= strides(name, tokens_joined(t).strides, "token head")
    arguments |= strides("kv", tokens_joined(kv).strides, "token")
    lanes = min(MOST_LANES, lanes_of_row(kv.shape[2], features))
    defines = (*kept_as(cache.dtype), *(SUBGROUPS if uses_subgroups(features) else ()))
    pairs = {"NEIGHBOURS": int(node.attrs.get("neighbours", False))}
    grid = grid_of(n_seqs * n_tokens * (n_heads + 1))
    return KernelCall("latent_cache", defines, buffers, arguments, grid, {"local_size_x": lanes, **NOT_HELD, **pairs})


def _of_whole_words(node: Node, _features: Features) -> str:
    return apart(node.inputs[6], node.inputs[2].shape[0], node.inputs[0].shape[3])


_TOKENS, _WHOLE = FLOATS.rows.joined(2), FLOATS.contiguous
_TAKES = {
    "q": _TOKENS,
    "kv": _TOKENS,
    "norm": _WHOLE,
    "pos": INTS.contiguous,
    "table": _WHOLE,
    "rows": INTS.contiguous,
    "cache": CACHE.contiguous,
}
_GIVES = {"y": _TOKENS, "written": CACHE.contiguous.typed_as("cache")}
_VARIANTS = tuple(("latent_cache", (*cached, *more)) for cached in WAYS for more in ((), SUBGROUPS))

KERNELS = (Kernel("latent_cache", _TAKES, _GIVES, _lower, _VARIANTS, _of_whole_words, frozenset({"neighbours"})),)
