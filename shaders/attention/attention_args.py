"""What the kernels that scan a cache are told alike."""

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Defines, placed, strides
from ..operands import Operand

CACHE = Operand((DType.F32, DType.F16)).rows.in_words
HALVES: Defines = (("HALVES", ""),)  # of caches of fp16, see cached.glsl


def halves(cache: Tensor) -> Defines:
    return HALVES if cache.dtype is DType.F16 else ()


def apart(cache: Tensor, *dims: int) -> str:
    """Why the numbers of heads of these sizes are no whole words of a cache; empty where they are."""
    return f"heads of {dims} in {cache.dtype.name}, expected even" if halves(cache) and any(n % 2 for n in dims) else ""


def tokens_joined(t: Tensor) -> Layout:
    """[B, T, ...] with the tokens of all sequences on one axis."""
    joined = t.layout.reshape((t.shape[0] * t.shape[1], *t.shape[2:]))
    assert joined is not None, t
    return joined


def scan(node: Node, step: str) -> tuple[Defines, dict[str, Tensor], dict[str, Argument]]:
    """Defines, buffers and arguments of attention, and of attention_split. `step` is what the shader calls a token, or
    in its place a part."""
    extra = dict(zip(node.attrs.get("extra", ()), node.inputs[5:], strict=True))
    split = node.op == "attention_split"
    buffers, arguments = scanned(node, f"seq head {step}" if split else f"seq {step} head")
    arguments |= {f"n_{step}s": node.attrs["n_split"] if split else node.inputs[0].shape[1]}
    arguments |= {"window": node.attrs.get("window", 0), "n_ctx": node.inputs[1].shape[1]}
    arguments |= {"cap": float(node.attrs.get("cap", 0))}
    for name, t in extra.items():
        arguments |= placed(name, t, "seq token head" if name == "gate" else "")
    flags = ("SPLIT",) if split else (name.upper() for name in extra)
    return (*((flag, "") for flag in flags), *halves(node.inputs[1])), buffers | extra, arguments


def scanned(node: Node, y_axes: str) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments of any scan."""
    q, k, v, slots, pos = node.inputs[:5]
    (y,) = node.outputs
    n_seqs, _, n_heads, dim = q.shape
    arguments: dict[str, Argument] = {
        **dict(n_seqs=n_seqs, n_heads=n_heads, share=n_heads // (k.shape[2] // dim)),
        **dict(n_kv=node.attrs["n_kv"], n_slots=k.shape[0], scale=float(node.attrs["scale"])),
        **dict(k_at=k, v_at=v),
        **strides("cache", k.layout.strides, "slot row"),
        **placed("slots", slots, "0"),
        **placed("q", q, "seq token head"),
        **placed("y", y, y_axes),
        **placed("pos", pos, "seq token"),
    }
    return {"q": q, "k": k, "v": v, "slots": slots, "pos": pos, "y": y}, arguments
