"""The dispatch that decides whether another one runs: it writes that one's grid, or zeros, for an indirect dispatch."""

from ...runtime.ir.graph import Branch
from ...runtime.ir.tensor import Tensor
from ..kernel import At, KernelCall, Variant

CHOOSE_GRID: Variant = ("choose_grid", ())


def choose_grid(branch: Branch, grid: tuple[int, int, int], grids: Tensor, row: int) -> KernelCall:
    """grids [n, 3] I32: row becomes `grid` where the step takes the branch, else zeros."""
    push = (At(0), branch.side, 3 * row, *grid)
    return KernelCall(*CHOOSE_GRID, (branch.which, grids), push, (1, 1, 1))
