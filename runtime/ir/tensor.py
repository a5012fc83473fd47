"""Tensor: a dtype and a layout over a storage. Views share the storage; every backend uses these same objects."""

from dataclasses import dataclass, replace
from enum import Enum

from ..errors import LayoutError
from .dtypes import DType
from .layout import Layout, Shape


class Kind(Enum):
    """What a storage holds, and so how long it lives."""

    WEIGHT = "weight"  # read only, filled once when the model loads
    CONSTANT = "constant"  # as a weight, but numbers that the host computes: the angles of rotary embedding
    STATE = "state"  # lives across steps: caches, recurrent states
    INPUT = "input"  # the step buffer's parts, written by the host before each run
    TEMP = "temp"  # made by a node, lives in the arena


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of memory for `shape` elements of one dtype. Identity is what distinguishes two storages."""

    name: str
    kind: Kind
    dtype: DType
    shape: Shape

    @property
    def n_elements(self) -> int:
        return Layout.contiguous(self.shape).n_elements

    @property
    def nbytes(self) -> int:
        """Bytes in GGUF's own layout; a backend may keep blocks in another one."""
        return self.dtype.nbytes(self.n_elements)

    def tensor(self) -> "Tensor":
        return Tensor(self.dtype, Layout.contiguous(self.shape), self)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage. Block types keep their last axis whole: their views are of rows."""

    dtype: DType
    layout: Layout
    storage: Storage

    @property
    def shape(self) -> Shape:
        return self.layout.shape

    @property
    def ndim(self) -> int:
        return self.layout.ndim

    def __repr__(self) -> str:
        return f"{self.storage.name}:{self.dtype.name}{self.shape}"

    def permute(self, *axes: int) -> "Tensor":
        return self._view(self.layout.permute(*axes))

    def slice(self, axis: int, start: int, stop: int, step: int = 1) -> "Tensor":
        return self._view(self.layout.slice(axis, start, stop, step))

    def select(self, axis: int, index: int) -> "Tensor":
        return self._view(self.layout.select(axis, index))

    def unsqueeze(self, axis: int) -> "Tensor":
        return self._view(self.layout.unsqueeze(axis))

    def broadcast_to(self, *shape: int) -> "Tensor":
        return self._view(self.layout.broadcast_to(shape))

    def can_reshape(self, *shape: int) -> bool:
        return self.layout.reshape(shape) is not None

    def reshape(self, *shape: int) -> "Tensor":
        """A view under a new shape. LayoutError when only a copy could do it: take graph.reshape for that."""
        layout = self.layout.reshape(shape)
        if layout is None:
            raise LayoutError(f"{self}: no view of strides {self.layout.strides} has shape {shape}; make it contiguous")
        return self._view(layout)

    def _view(self, layout: Layout) -> "Tensor":
        if self.dtype.is_quantised and (layout.shape[-1:] != self.shape[-1:] or not layout.rows_contiguous):
            raise LayoutError(f"{self}: a view may not cut the last axis of a block type")
        return replace(self, layout=layout)

    def overlaps(self, other: "Tensor") -> bool:
        return self.storage is other.storage and self.layout.overlaps(other.layout)
