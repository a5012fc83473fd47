"""Branches: dispatches that only some runs take, as indirect ones, whose grids a run decides on the device first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.common.choose_grid import choose_grid
from .dispatches import Dispatch, covered
from .physical import Limits

GRID_NBYTES = 12  # of VkDispatchIndirectCommand


@dataclass(frozen=True, eq=False)
class Branches:
    """Of a program's dispatches: `grids` [n, 3] holds a grid for each that has a branch, and
    `deciders` are those that write it."""

    dispatches: Sequence[Dispatch]
    limits: Limits

    @cached_property
    def rows(self) -> dict[Dispatch, int]:
        """The row of `grids` of each dispatch that has a branch."""
        return {dispatch: i for i, dispatch in enumerate(s for s in self.dispatches if s.part.branch)}

    @cached_property
    def grids(self) -> Storage:
        return Storage("grids", Kind.TEMP, DType.I32, (max(len(self.rows), 1), 3))

    @cached_property
    def deciders(self) -> list[Dispatch]:
        return [self._decider(dispatch, row) for dispatch, row in self.rows.items()]

    def _decider(self, dispatch: Dispatch, row: int) -> Dispatch:
        assert dispatch.part.branch is not None
        call = choose_grid(dispatch.part.branch, dispatch.call.grid, self.grids.tensor(), row)
        return Dispatch(dispatch.node, dispatch.part, call, covered(dispatch.part, call, self.limits))
