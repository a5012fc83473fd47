"""The dispatch that decides whether another one runs: it writes that one's grid, or zeros, for an indirect dispatch."""

from ...runtime.ir.graph import Branch
from ...runtime.ir.tensor import Tensor
from ..kernel import KernelCall, Variant

CHOOSE_GRID: Variant = ("choose_grid", ())


def choose_grid(branch: Branch, grid: tuple[int, int, int], grids: Tensor, row: int) -> KernelCall:
    """grids [n, 3] I32: row becomes `grid` where the step takes the branch, else zeros."""
    x, y, z = grid
    arguments = {
        "which_at": branch.which,
        "side": branch.side,
        "grid_at": 3 * row,
        "grid_x": x,
        "grid_y": y,
        "grid_z": z,
    }
    return KernelCall(*CHOOSE_GRID, {"which": branch.which, "grids": grids}, arguments, (1, 1, 1))
