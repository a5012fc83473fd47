"""Products of rows with a matrix."""

from dataclasses import dataclass
from itertools import accumulate

from ...ir.graph import Graph
from ...ir.tensor import Tensor


@dataclass(frozen=True)
class Linear:
    """factor * x W^T + bias: weight [M, K], bias [M], factor [1]; x [n_rows, K] -> [n_rows, M]."""

    weight: Tensor
    bias: Tensor | None = None
    factor: Tensor | None = None

    @property
    def n_out(self) -> int:
        return self.weight.shape[0]

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        y = g.mul_mat(self.weight, x)
        y = y if self.factor is None else g.mul(y, self.factor)
        return y if self.bias is None else g.add(y, self.bias)

    def split(self, *sizes: int) -> list["Linear"]:
        """The parts of it that make so many columns each, one after the other."""
        stops = accumulate(sizes)
        return [self._rows(stop - n, stop) for n, stop in zip(sizes, stops, strict=True)]

    def _rows(self, start: int, stop: int) -> "Linear":
        return Linear(self.weight.slice(0, start, stop), self.bias and self.bias.slice(0, start, stop), self.factor)
