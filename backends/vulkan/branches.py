"""Branches: dispatches that only some runs take, as indirect ones, whose grids a run decides on the device first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.common.choose_grid import choose_grid
from .physical import Limits
from .steps import Step, bindings

GRID_NBYTES = 12  # of VkDispatchIndirectCommand


@dataclass(frozen=True, eq=False)
class Branches:
    """Of a program's steps: `grids` [n, 3] holds a grid for each that has a branch, `choices` are the dispatches that
    write it."""

    steps: Sequence[Step]
    limits: Limits

    @cached_property
    def rows(self) -> dict[Step, int]:
        """The row of `grids` of each step that has a branch."""
        return {step: i for i, step in enumerate(s for s in self.steps if s.part.branch)}

    @cached_property
    def grids(self) -> Storage:
        return Storage("grids", Kind.TEMP, DType.I32, (max(len(self.rows), 1), 3))

    @cached_property
    def choices(self) -> list[Step]:
        return [self._choice(step, row) for step, row in self.rows.items()]

    def _choice(self, step: Step, row: int) -> Step:
        assert step.part.branch is not None
        call = choose_grid(step.part.branch, step.call.grid, self.grids.tensor(), row)
        return Step(step.node, step.part, call, *bindings(step.part, call, self.limits))
