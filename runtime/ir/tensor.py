"""Tensor: a dtype and a layout over a storage. Views share the storage; every backend uses these same objects."""

from dataclasses import dataclass
from enum import Enum
from math import prod

from ..errors import LayoutError
from .dtypes import DType
from .layout import Layout, Shape


class Kind(Enum):
    """What a storage holds, and so how long it lives."""

    __hash__ = object.__hash__  # Enum's own is Python, and asked for often

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
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in GGUF's own layout; a backend may keep blocks in another one."""
        return self.dtype.nbytes(self.n_elements)

    @property
    def array_shape(self) -> Shape:
        """Of an array of its content: blocks are bytes, in GGUF's own layout."""
        return (*self.shape[:-1], self.dtype.nbytes(self.shape[-1])) if self.dtype.is_quantised else self.shape

    def tensor(self) -> "Tensor":
        return Tensor(self.dtype, Layout.contiguous(self.shape), self)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage. Of block types views are of rows, or of the first blocks of each row."""

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
        if self.dtype.is_quantised and not self._is_of_rows(layout):
            raise LayoutError(f"{self}: a view may not cut the last axis of a block type but behind its first blocks")
        return Tensor(self.dtype, layout, self.storage)

    def _is_of_rows(self, layout: Layout) -> bool:
        """Does each row of the layout begin where one of the storage does, and end with a block?"""
        row, n = max(1, self.storage.shape[-1]), (layout.shape or (0,))[-1]
        at_rows = not any(at % row for at in (layout.offset, *layout.strides[:-1]))
        return at_rows and layout.rows_contiguous and n <= self.shape[-1] and n % self.dtype.block == 0

    @property
    def is_cut(self) -> bool:
        """Of a block type: has a row fewer blocks than the storage's?"""
        return self.dtype.is_quantised and self.shape[-1] != self.storage.shape[-1]

    def overlaps(self, other: "Tensor") -> bool:
        return self.storage is other.storage and self.layout.overlaps(other.layout)
