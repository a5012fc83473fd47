"""Products of rows with a matrix."""

from dataclasses import dataclass

from ...ir.graph import Graph
from ...ir.tensor import Tensor


@dataclass(frozen=True)
class Linear:
    """x W^T + bias: weight [M, K], bias [M]; x [n_rows, K] -> [n_rows, M]."""

    weight: Tensor
    bias: Tensor | None = None

    @property
    def n_out(self) -> int:
        return self.weight.shape[0]

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        y = g.mul_mat(self.weight, x)
        return y if self.bias is None else g.add(y, self.bias)

    def rows(self, start: int, stop: int) -> "Linear":
        """The part of it that makes columns [start, stop)."""
        return Linear(self.weight.slice(0, start, stop), self.bias and self.bias.slice(0, start, stop))
