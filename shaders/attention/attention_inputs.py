"""What kernels of attention that make its inputs themselves are told alike: see attention_inputs.glsl."""

from collections.abc import Callable, Sequence

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Features, Kernel, KernelCall, Variant
from ..operands import FLOATS, INTS
from .attention_args import OF_HALVES, grid_of_parts, parts_of

ANGLES = 16  # numbers of a head that are turned are a multiple of so many
_QUADS, _NUMBERS, OWN_CACHE = FLOATS.rows.aligned(4), INTS.contiguous, OF_HALVES.contiguous
TAKES = {
    "q": _QUADS,
    "k": _QUADS,
    "v": FLOATS.rows,
    "pos": _NUMBERS,
    "table": FLOATS.contiguous.aligned(4),
    "rows": _NUMBERS,
    "k_cache": OWN_CACHE,
    "v_cache": OWN_CACHE,
    "slots": _NUMBERS,
    "seen": _NUMBERS,
}
NORMS = {"q_norm?": FLOATS.contiguous.aligned(4), "k_norm?": FLOATS.contiguous.aligned(4)}
GIVES = {"y": FLOATS.contiguous, "k_written": OWN_CACHE, "v_written": OWN_CACHE}


def refusal(node: Node) -> str:
    """Why the inputs are not made; empty where they are."""
    n_turned, n_ctx = node.inputs[4].shape[1], node.inputs[6].shape[1]
    if not n_turned or n_turned % ANGLES:
        return f"{n_turned} numbers turned, expected a multiple of {ANGLES}"
    return "" if n_ctx > 1 else f"caches of {n_ctx} rows, expected at least 2"


def given(node: Node, norms: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments."""
    q, k, v, pos, table, rows, k_cache, v_cache, slots, seen = node.inputs[:10]
    n_slots, n_ctx, width = k_cache.shape
    buffers = {"q": q, "own_k": k, "own_v": v, "turns": pos, "table": table, "rows": rows, "slots": slots, "pos": seen}
    buffers |= {"k": k_cache, "v": v_cache, "y": node.outputs[0]}
    buffers |= dict(zip(("q_norm", "k_norm"), norms, strict=True)) if norms else {}
    arguments: dict[str, Argument] = {f"{name}_at": t for name, t in buffers.items()}
    arguments |= {"n_seqs": q.shape[0], "n_kv": node.attrs["n_kv"], "n_slots": n_slots, "n_ctx": n_ctx}
    arguments |= {"n_table": table.shape[0], "cache_row": width // 8, "scale": float(node.attrs["scale"])}
    arguments["cap"] = float(node.attrs.get("cap", 0))
    for name in ("q", "own_k", "own_v"):
        seq, _, head, _ = buffers[name].layout.strides
        arguments |= {f"{name}_seq": seq, f"{name}_head": head}
    if norms:
        arguments["eps"] = float(node.attrs["eps"])
    return buffers, arguments


def turning(node: Node) -> dict[str, int]:
    return {"HALF": node.inputs[4].shape[1] // 2, "NEIGHBOURS": int(node.attrs.get("neighbours", False))}


def own_nbytes(dim: int) -> int:
    """Shared, of the own key and value."""
    return 2 * 2 * dim


def kernel_in_parts(
    stem: str,
    known: Callable[[Node, Tensor, Tensor, Features], dict[str, int]],
    rule: Callable[[Node, Features], str],
) -> Kernel:
    """Of rope_attention_split; `known` are the constants of the attention, of q and a cache."""

    def lower(node: Node, features: Features) -> KernelCall:
        q, k_cache, norms = node.inputs[0], node.inputs[6], node.inputs[10:]
        buffers, arguments = given(node, norms)
        constants, grid = known(node, q, k_cache, features) | turning(node), grid_of_parts(node, q, k_cache)
        return KernelCall(*variants[bool(norms)], buffers, arguments | parts_of(node), grid, constants)

    variants: tuple[Variant, ...] = (stem, (("ROPE", ""),)), (stem, (("ROPE", ""), ("NORM", "")))
    options = frozenset({"q_norm", "k_norm", "neighbours", "cap"})
    return Kernel("rope_attention_split", TAKES | NORMS, GIVES, lower, variants, rule, options)
