"""Dispatches with all that an encoder is told of them, found once, so that encoding is calls and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Kind, Storage
from ...shaders.common.choose_grid import choose_grid
from ...shaders.interface import of_text
from ...shaders.kernel import KernelCode
from ..lowered import Dispatch
from ..packing import argument_bytes
from .kernels import Pipeline
from .memory import Place

CONSTANT_ALIGNMENT = 32  # of offsets of arguments, which all GPUs of Metal allow; Apple's own allow 4
GRID_NBYTES = 12  # of MTLDispatchThreadgroupsIndirectArguments
Bound = tuple[Any, int]  # a buffer and an offset in it


@dataclass(frozen=True, eq=False)
class Step:
    """What changes in an encoder's argument table from the step before in its part, and what is dispatched.

    pipeline: None where it is the one before's; slots: NSRange of buffers and offsets; grids: where an indirect
    dispatch finds its grid. bound is the whole table.
    """

    node: int
    pipeline: Any
    state: Any
    buffers: list[Any]
    offsets: list[int]
    slots: Any
    grid: Any
    threads: Any
    grids: Bound | None
    barrier: bool
    bound: tuple[Bound, ...]


class Branches:
    """Of dispatches that only some runs take: `grids` [n, 3] holds the grid of each, `deciders` write it."""

    def __init__(self, dispatches: Sequence[Dispatch]) -> None:
        taken = [d for d in dispatches if d.branch]
        self.rows = {d: row for row, d in enumerate(taken)}
        self.grids = Storage("grids", Kind.TEMP, DType.I32, (max(len(taken), 1), 3))
        self.deciders = [self._decider(d, row) for d, row in self.rows.items()]

    def _decider(self, dispatch: Dispatch, row: int) -> Dispatch:
        assert dispatch.branch is not None
        call = choose_grid(dispatch.branch, dispatch.call.grid, self.grids.tensor(), row)
        return Dispatch(dispatch.node, call, None)


class Arguments:
    """Every kernel's arguments, one after the other, as the program's own memory holds them."""

    def __init__(self, dispatches: Sequence[Dispatch]) -> None:
        made = {d: argument_bytes(of_text(d.call.stem, d.call.defines).order(d.call), lambda _: 0) for d in dispatches}
        self.at: dict[Dispatch, int] = {}
        self._bytes = bytearray()
        for dispatch, words in made.items():
            self.at[dispatch] = len(self._bytes)
            self._bytes += words.ljust(-(-len(words) // CONSTANT_ALIGNMENT) * CONSTANT_ALIGNMENT, b"\0")

    @property
    def nbytes(self) -> int:
        return len(self._bytes)

    def write(self, place: Place) -> None:
        place.bytes[: self.nbytes] = np.frombuffer(self._bytes, np.uint8)


@dataclass(frozen=True)
class StepMaker:
    """Makes steps; `spot` says where a storage stands, `arguments_at` where the kernels' arguments do."""

    metal: Any
    pipelines: Mapping[KernelCode, Pipeline]
    spot: Callable[[Storage], Bound]
    arguments: Arguments
    arguments_at: Bound
    branches: Branches

    def part(self, dispatches: Sequence[Dispatch], barriers: Sequence[bool], alone: bool = False) -> list[Step]:
        """Of one encoder, which begins with nothing bound. The barrier before a node with nothing to do comes with the
        next one; before the first there is none, since encoders wait for each other. alone: each step binds all."""
        made: list[Step] = []
        table: dict[int, Bound] = {}
        for dispatch in dispatches:
            node = made[-1].node if made else dispatch.node
            barrier = any(barriers[node + 1 : dispatch.node + 1])
            before = made[-1].state if made and not alone else None
            made.append(self._step(dispatch, barrier, before, {} if alone else table))
            table |= dict(enumerate(made[-1].bound))
        return made

    def _step(self, dispatch: Dispatch, barrier: bool, before: Any, table: Mapping[int, Bound]) -> Step:
        pipeline, bound, size = self.pipelines[dispatch.call.code], self._bound(dispatch), self.metal.MTLSize
        changed = [i for i, b in enumerate(bound) if table.get(i) != b] or [0]
        first, end = changed[0], changed[-1] + 1
        row = self.branches.rows.get(dispatch)
        grids = None if row is None else self._grids(row)
        return Step(
            dispatch.node,
            None if pipeline.state is before else pipeline.state,
            pipeline.state,
            [buffer for buffer, _ in bound[first:end]],
            [offset for _, offset in bound[first:end]],
            self.metal.NSMakeRange(first, end - first),
            size(*dispatch.call.grid),
            pipeline.threads,
            grids,
            barrier,
            bound,
        )

    def _bound(self, dispatch: Dispatch) -> tuple[Bound, ...]:
        """The kernel's buffers in order, then its arguments."""
        declared = of_text(dispatch.call.stem, dispatch.call.defines)
        buffers = [self.spot(t.storage) for t in declared.order(dispatch.call).buffers]
        buffer, start = self.arguments_at
        arguments = [(buffer, start + self.arguments.at[dispatch])] if declared.arguments else []
        return (*buffers, *arguments)

    def _grids(self, row: int) -> Bound:
        buffer, start = self.spot(self.branches.grids)
        return buffer, start + row * GRID_NBYTES
