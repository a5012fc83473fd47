"""What the kernels that scan a cache are told alike."""

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..common.walk import fast_div_words
from ..kernel import Argument, Constants, Defines, grid_of, placed, strides
from ..matmul.mul_mat_args import in_words
from ..operands import Operand

F32, F16, Q8_0 = DType.F32, DType.F16, DType.Q8_0
CACHE = Operand((F32, F16, Q8_0)).rows.in_words
OF_HALVES = Operand((F16,)).rows.aligned(8)  # caches that kernels for one token read in eights
DIMS = 64, 128, 256  # of heads, of these kernels
FEWEST_HEADS, MOST_HEADS = 4, 8  # that share a key, of a workgroup of theirs
# see cached.glsl
_OF_TYPE = {F32: "", F16: "HALVES", Q8_0: "QUANTS"}
PAIRS = ((F32, F32), (F16, F16), (Q8_0, Q8_0), (F16, Q8_0), (Q8_0, F16))  # what kernels read, of keys and values


def kept_as(dtype: DType) -> Defines:
    """Of caches of one type."""
    return ((_OF_TYPE[dtype], ""),) if _OF_TYPE[dtype] else ()


WAYS = tuple(map(kept_as, (F32, F16, Q8_0)))


def pair(k: DType, v: DType) -> Defines:
    """Of caches whose keys and values may be of two types."""
    return tuple((f"{name}_{_OF_TYPE[t]}", "") for name, t in (("K", k), ("V", v)) if _OF_TYPE[t])


PAIR_WAYS = tuple(pair(k, v) for k, v in PAIRS)


def unpaired(node: Node) -> str:
    """Why no kernel reads such keys beside such values; empty where one does."""
    k, v = node.inputs[1].dtype, node.inputs[2].dtype
    return "" if (k, v) in PAIRS else f"keys of {k.name} beside values of {v.name}"


def apart(cache: Tensor, *dims: int) -> str:
    """Why the numbers of heads of these sizes are no whole words, or blocks, of a cache; empty where they are."""
    unit = {F16: 2, Q8_0: Q8_0.block}.get(cache.dtype, 1)
    wanted = "even" if unit == 2 else f"multiples of {unit}"
    return f"heads of {dims} in {cache.dtype.name}, expected {wanted}" if any(n % unit for n in dims) else ""


def grouped_heads(share: int) -> int:
    """Query heads of a workgroup, of those that share a key."""
    return max(n for n in range(1, min(share, MOST_HEADS) + 1) if share % n == 0)


def chunks(q: Tensor, k: Tensor) -> dict[str, int]:
    """HEADS of a workgroup, CHUNKS of so many heads, SHARE of which share a key; each head's size."""
    n_heads, dim = q.shape[2:]
    share = n_heads // (k.shape[2] // dim)
    heads = grouped_heads(share)
    return {"DIM": dim, "HEADS": heads, "CHUNKS": n_heads // heads, "SHARE": share // heads}


def parts_of(node: Node) -> dict[str, Argument]:
    n_parts, cap = node.attrs["n_split"], float(node.attrs.get("cap", 0))
    magic, shift = fast_div_words(n_parts)
    return {"n_parts": n_parts, "parts_magic": magic, "parts_shift": shift, "cap": cap}


def grid_of_parts(node: Node, q: Tensor, k: Tensor) -> tuple[int, int, int]:
    return grid_of(q.shape[0] * node.attrs["n_split"] * chunks(q, k)["CHUNKS"])


def given_parts(node: Node) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments of attention_split where it reads eights of a cache."""
    buffers, arguments = scanned(node, "seq head part")
    for name in ("q_token", "pos_token", "cache_slot", "cache_row", "n_heads", "share"):
        del arguments[name]  # there is one token
    for name in "kv":
        arguments |= strides(name, (s // 8 for s in buffers[name].layout.strides), "slot row")
    return buffers, arguments | parts_of(node)


def values(node: Node) -> Constants:
    """What of the values is not as of the keys, and where the scales of rows of blocks stand."""
    k, v = node.inputs[1:3]
    strides_k, strides_v = in_words(k).strides, in_words(v).strides
    slot, row, _ = (0, 0, 1) if strides_v == strides_k else strides_v
    return {"V_SLOT": slot, "V_ROW": row, **scales(k, v)}


def row_of_blocks(cache: Tensor) -> dict[str, Argument]:
    """The words from one row [n_rows, width] of blocks to the next; nothing where a cache holds plain numbers."""
    return {"cache_row": in_words(cache).strides[0]} if cache.dtype.is_quantised else {}


def scales(k: Tensor, v: Tensor) -> Constants:
    """The words of rows of blocks before their scales, 0 of others."""
    codes = [t.storage.shape[-1] // 4 if t.dtype.is_quantised else 0 for t in (k, v)]
    return {"K_SCALES": codes[0], "V_SCALES": codes[1]}


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
    kept = pair(node.inputs[1].dtype, node.inputs[2].dtype)
    return (*((flag, "") for flag in flags), *kept), buffers | extra, arguments


def scanned(node: Node, y_axes: str) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments of any scan."""
    q, k, v, slots, pos = node.inputs[:5]
    (y,) = node.outputs
    n_seqs, _, n_heads, dim = q.shape
    arguments: dict[str, Argument] = {
        **dict(n_seqs=n_seqs, n_heads=n_heads, share=n_heads // (k.shape[2] // dim)),
        **dict(n_kv=node.attrs["n_kv"], n_slots=k.shape[0], scale=float(node.attrs["scale"])),
        **dict(k_at=k, v_at=v),
        **strides("cache", in_words(k).strides, "slot row"),
        **placed("slots", slots, "0"),
        **placed("q", q, "seq token head"),
        **placed("y", y, y_axes),
        **placed("pos", pos, "seq token"),
    }
    return {"q": q, "k": k, "v": v, "slots": slots, "pos": pos, "y": y}, arguments
