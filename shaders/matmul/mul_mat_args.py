"""The host's side of mul_mat and mul_mat_id: operands as mul_mat_args.glsl describes them, and their dispatches."""

from dataclasses import dataclass, replace

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, collapse_together
from ...runtime.ir.quants import packed_row_nbytes
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Constants, Defines, KernelCall, grid_of, placed, strides

FEW_COLS = 16  # of a batch of sequences, where a tile less counts for more than registers do


@dataclass(frozen=True)
class Product:
    """y[b0, b1, n, m] = x[b0, b1, n] . w[b0 / ratio0, b1 / ratio1, m] as the shaders know it.

    Strides in elements; of w's block types in 32-bit words. Layouts have 4 axes: batch 0, batch 1, rows, inner.
    """

    w: Layout
    x: Layout
    y: Layout

    @property
    def batch(self) -> tuple[int, int]:
        return self.x.shape[0], self.x.shape[1]

    @property
    def n_batch(self) -> int:
        return self.batch[0] * self.batch[1]

    @property
    def n_rows(self) -> int:
        return self.w.shape[2]

    @property
    def n_cols(self) -> int:
        return self.x.shape[2]

    @property
    def n_inner(self) -> int:
        return self.x.shape[3]

    @property
    def arguments(self) -> dict[str, Argument]:
        """mul_mat_args.glsl's, but where the tensors start, and the experts' own."""
        ratio0, ratio1 = (n // m for n, m in zip(self.batch, self.w.shape, strict=False))
        return {
            **dict(n_rows=self.n_rows, n_cols=self.n_cols, n_inner=self.n_inner),
            **strides("w", self.w.strides, "batch0 batch1 row inner"),
            **strides("x", self.x.strides, "batch0 batch1 col inner"),
            **strides("y", self.y.strides, "batch0 batch1 col inner"),
            **dict(n_batch0=self.batch[0], n_batch1=self.batch[1], ratio0=ratio0, ratio1=ratio1),
        }


def _four(a: Layout) -> Layout:
    for _ in range(4 - a.ndim):
        a = a.unsqueeze(0)
    return a


def in_words(t: Tensor) -> Layout:
    """The layout of a weight with the strides that shaders use: of block types in words of packed rows."""
    if not t.dtype.is_quantised:
        return t.layout
    n = max(1, t.storage.shape[-1])
    words = packed_row_nbytes(t.dtype, t.storage.shape[-1]) // 4
    return replace(t.layout, strides=(*(s // n * words for s in t.layout.strides[:-1]), 1))


def is_aligned(w: Tensor) -> bool:
    """Does every row begin at a multiple of 16 bytes of its storage?"""
    if w.dtype.is_quantised:
        return packed_row_nbytes(w.dtype, w.shape[-1]) % 16 == 0
    return not any(n * w.dtype.block_bytes % 16 for n in (*w.layout.strides[:-1], w.layout.offset))


def product_of(node: Node) -> Product:
    """The product with as much as possible of the batch seen as columns, so that weights are read once."""
    (w, x, *_halves), (y,) = node.inputs, node.outputs
    p = Product(_four(in_words(w)), _four(x.layout), _four(y.layout))
    if p.w.shape[:2] == (1, 1):
        return _merge_batch(p)
    if p.n_cols == 1 and p.batch[1] > p.w.shape[1]:
        return _merge_group(p)
    return p


def _merge_batch(p: Product) -> Product:
    """All axes of x but the inner one are columns of one weight, where strides allow it."""
    lead = tuple(Layout(a.shape[:3], a.strides[:3], a.offset) for a in (p.x, p.y))
    x, y = (_four(_with_inner(a, whole)) for a, whole in zip(collapse_together(lead), (p.x, p.y), strict=True))
    return Product(p.w, x, y)


def _with_inner(lead: Layout, whole: Layout) -> Layout:
    return Layout((*lead.shape, whole.shape[3]), (*lead.strides, whole.strides[3]), whole.offset)


def _merge_group(p: Product) -> Product:
    """One column a head: the heads that share a weight become its columns, as in grouped queries' decode."""
    ratio = p.batch[1] // p.w.shape[1]
    x, y = (
        replace(
            a,
            shape=(a.shape[0], a.shape[1] // ratio, ratio, a.shape[3]),
            strides=(a.strides[0], a.strides[1] * ratio, a.strides[1], a.strides[3]),
        )
        for a in (p.x, p.y)
    )
    return Product(p.w, x, y)


def vec_tile(n_cols: int, has_subgroups: bool) -> tuple[int, int]:
    """Rows and columns a workgroup of vec.glsl. Without subgroups each output costs a round of barriers, and drivers
    take long to compile many of these."""
    return (2, even_tile(n_cols, 8)) if has_subgroups else (1, min(n_cols, 2))


def lanes_tile(n_cols: int, dtype: DType) -> tuple[int, int]:
    """Rows and columns an invocation of lanes.glsl, as measured on llvmpipe: more rows of plain numbers cost more
    loads, and seconds of compiling."""
    if not dtype.is_quantised:
        return 1, even_tile(n_cols, 8)
    return 2, even_tile(n_cols, 5 if n_cols <= FEW_COLS else 4)


def even_tile(n: int, most: int) -> int:
    """The size of as few tiles as can be, of about one size, at most `most`: columns beyond the last cost as much."""
    return ceil_div(n, ceil_div(n, most))


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def operands_of(node: Node) -> Product:
    """mul_mat_id is a product of one column, with batch (token, slot); w's batch 1 is the expert."""
    if node.op == "mul_mat":
        return product_of(node)
    (w, x, ids, *_more), (y,) = node.inputs, node.outputs
    wide = x.layout.broadcast_to((*ids.shape, x.shape[2]))
    return Product(_four(in_words(w)), wide.unsqueeze(2), y.layout.unsqueeze(2))


def type_define(dtype: DType) -> tuple[str, str]:
    return f"TYPE_{dtype.name}", ""


def defines_of(dtype: DType, op: str, *flags: str) -> Defines:
    experts = ("EXPERTS",) if op == "mul_mat_id" else ()
    return (type_define(dtype), *((flag, "") for flag in (*experts, *flags)))


def lower_product(node: Node, stem: str, flags: tuple[str, ...], n_groups: int, constants: Constants) -> KernelCall:
    """A dispatch of any kernel that takes the arguments of mul_mat_args.glsl."""
    w, x, *ids = node.inputs
    (y,) = node.outputs
    buffers, arguments = {"weights": w, "x": x, "y": y}, operands_of(node).arguments
    arguments |= {"w_at": w, "x_at": x, "y_at": y}
    for t in ids:
        buffers["ids"] = t
        arguments |= {**placed("ids", t, "batch0 batch1"), "n_experts": w.shape[0]}
    return KernelCall(stem, defines_of(w.dtype, node.op, *flags), buffers, arguments, grid_of(n_groups), constants)


def is_grouped(node: Node) -> bool:
    """Do experts of mul_mat_id get so many columns each that looking for them pays?"""
    return node.inputs[2].layout.n_elements >= 2 * node.inputs[0].shape[0]
