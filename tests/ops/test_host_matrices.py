"""Kernels of cooperative matrices on the host backend: right with every tile and in both orders of lanes."""

from dataclasses import replace
from functools import cache

import pytest
from vkrun.backends.host import BACKEND
from vkrun.backends.host.device import HostDevice
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.optable import cases_convolved, cases_decode, cases_long, cases_prompts
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Outcome, run_case
from vkrun.shaders.catalogue import lower
from vkrun.shaders.matmul import matrix_tiles
from vkrun.shaders.matmul.matrix_tiles import (
    EXPERT_TILES,
    FEW_EXPERT_TILE,
    FEW_TILES,
    LARGE_FEW_TILES,
    LARGE_TILE,
    NARROW_TILES,
    TILES,
    WARPGROUP_EXPERT_TILES,
    WARPGROUP_TILES,
    Tile,
)
from vkrun.tests.nodes import bare

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

CASES = *cases_prompts.CASES, *cases_long.CASES, *cases_decode.CASES, *cases_convolved.CASES
STEMS = ("attention_decode_matrix", "attention_matrix", "mul_mat_id_matrix", "mul_mat_id_swiglu", "mul_mat_matrix")
PLAINLY = 2  # cases of a stem without --full: one in each order of lanes
TRIED = (  # as others are not: eight columns, several stages ahead, one team of two stages
    Tile(32, 8, 2, 32, 8, 1, 4, 2),
    Tile(16, 8, 2, 16, 8, 1, 12, 4),
    Tile(64, 16, 1, 32, 8, 2, 3, 3),
    Tile(64, 64, 2, 32, 32, 2, 1, 2),
)
PRODUCT, BY_EXPERTS = ("mul_mat", "Q4_0: 150 columns of 1024"), ("mul_mat_id", "Q8_0: all ids alike, a prompt")
CONVOLVED, TOO_MANY = (
    ("mul_mat_conv", "Q4_K: 17 columns of 1024, 1030 rows"),
    (Tile(128, 32, 2, 32, 32, 1), FEW_TILES[6]),
)


@cache
def device(backwards: bool = False) -> HostDevice:
    return BACKEND.open(BACKEND.devices()[int(backwards)])


def run(case: Case, backwards: bool = False) -> Outcome:
    """As a plan makes it, with lists of the ids of experts."""
    return run_case(case, device(backwards), 3)


def case_of(op: str, what: str) -> Case:
    return next(c for c in CASES if (c.op, c.what) == (op, what))


@cache
def stems() -> list[set[str]]:
    """The shaders that run each case."""
    plans = (lean_plan(bare(case).graph, 3, device().supports) for case in CASES)
    calls = ([lower(node, device().features) for node in plan.nodes] for plan in plans)
    return [{call.stem for call in each if call} for each in calls]


def cases_of(stem: str) -> list[Case]:
    return [c for c, own in zip(CASES, stems(), strict=True) if stem in own]


@pytest.mark.parametrize("stem", STEMS)
def test_cases(stem: str, full: bool) -> None:
    found = cases_of(stem)
    assert len(found) > 15
    outcomes = [run(c, bool(i % 2)) for i, c in enumerate(found if full else found[:: len(found) // PLAINLY + 1])]
    assert [f"{o.case.what}: {o.why}" for o in outcomes if o.status != "pass"] == []


@pytest.mark.full(
    *(tile for alike in (TILES, LARGE_FEW_TILES, FEW_TILES, NARROW_TILES, TRIED, EXPERT_TILES) for tile in alike[1:])
)
@pytest.mark.parametrize(
    ("case", "tile"),
    [
        *((PRODUCT, tile) for tile in (*TILES, *LARGE_FEW_TILES, *FEW_TILES, *NARROW_TILES, *TRIED)),
        *((CONVOLVED, tile) for tile in (*LARGE_FEW_TILES, *FEW_TILES, *NARROW_TILES, *TRIED) if tile not in TOO_MANY),
        *((BY_EXPERTS, tile) for tile in (*EXPERT_TILES, FEW_EXPERT_TILE, LARGE_TILE)),
    ],
)
def test_every_tile(case: tuple[str, str], tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_tiles, "forced", (tile, 4))
    assert run(case_of(*case)).why == ""


HALVED = {
    "mul_mat": ("Q4_0: halves of 150 columns", WARPGROUP_TILES),
    "mul_mat_id": ("Q8_0: halves of 100 x 3", WARPGROUP_EXPERT_TILES),
    "mul_mat_id_swiglu": ("Q8_0: halves of 100 x 3", WARPGROUP_EXPERT_TILES),
}
OTHERS = {"one stage": (1, 0), "two stages": (2, 0), "columns copied": (2, 3), "four of them": (1, 4)}


@pytest.mark.full(*OTHERS)
@pytest.mark.parametrize("turns", ["its own", *OTHERS])
@pytest.mark.parametrize(("op", "tile"), [(op, tile) for op, (_, tiles) in HALVED.items() for tile in tiles])
def test_every_tile_of_warpgroups(op: str, tile: Tile, turns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, copies = OTHERS.get(turns, (tile.stages, tile.copies))
    monkeypatch.setattr(matrix_tiles, "forced", (replace(tile, stages=stages, copies=copies), 4))
    case = case_of(op, HALVED[op][0])
    call = lower(bare(case).node, device().features)
    assert call is not None and call.constants["WARPGROUPS"] == 1
    assert [run_case(case, device(backwards)).why for backwards in (False, True)] == ["", ""]
