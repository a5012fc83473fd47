"""Which tiles experts' products take: large ones where there are enough, those of small models as measured on them."""

from dataclasses import replace

import pytest
from vkrun.runtime.ir.composites import PART_FUSIONS
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.passes import fuse
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import Features
from vkrun.shaders.matmul.matrices import takes_experts

GPU = Features(
    subgroup_size=32,
    float16=True,
    shared_nbytes=49152,
    max_workgroup=1024,
    cooperative_matrix=((16, 16, 16),),
)
LARGE, REAL, BUNDLED = (128, 48), (512, 10, 512, 2048), (12, 4, 128, 256)  # experts, used, hidden, width


def tiles(n_tokens: int, shape: tuple[int, int, int, int], features: Features = GPU) -> list[tuple[int, int] | None]:
    """Rows and columns of a tile on the way up, and on the way down; None where gate and up are not taken in one."""
    n_experts, used, hidden, width = shape
    gate, down = (
        Storage(name, Kind.WEIGHT, DType.Q4_0, (n_experts, *rows)).tensor()
        for name, rows in (("gate", (hidden, width)), ("down", (width, hidden)))
    )
    x = Storage("x", Kind.STATE, DType.F32, (n_tokens, 1, width)).tensor()
    ids = Storage("ids", Kind.STATE, DType.I32, (n_tokens, used)).tensor()
    g = Graph()
    lists = g.one("expert_lists", ids, n_experts=n_experts)
    g.emit("mul_mat_id", down, g.one("mul_mat_id_swiglu", gate, gate, x, ids, lists), ids, lists)
    calls = [None if refusal(node, features) else lower(node, features) for node in g.nodes[1:]]
    return [c and (c.constants["TILE_ROWS"], c.constants["TILE_COLS"]) for c in calls]


@pytest.mark.parametrize(
    ("n_tokens", "shape", "wanted"),
    [
        (2048, REAL, [LARGE, LARGE]),
        (512, REAL, [LARGE, LARGE]),
        (64, REAL, [(128, 32), (128, 32)]),
        (32, REAL, [(128, 16), (128, 16)]),
        (512, BUNDLED, [(128, 64), (128, 64)]),
        (2048, BUNDLED, [(128, 64), (128, 64)]),
    ],
)
def test_tiles(n_tokens, shape, wanted) -> None:
    assert tiles(n_tokens, shape) == wanted


@pytest.mark.parametrize(("n_tokens", "shape", "wanted"), [(8, REAL, False), (16, REAL, True), (32, BUNDLED, False)])
def test_experts_of_many_tokens_at_work_go_by_lists(n_tokens, shape, wanted) -> None:
    n_experts, used, hidden, width = shape
    gate = Storage("gate", Kind.WEIGHT, DType.Q4_0, (n_experts, hidden, width)).tensor()
    assert takes_experts(gate, n_tokens, used, GPU) is wanted
    assert not takes_experts(gate, n_tokens, used, Features(subgroup_size=32))


@pytest.mark.parametrize(
    ("n_tokens", "n_slots", "features", "stem"),
    [
        (1, 4, GPU, "mul_mat_vec"),
        (15, 1, GPU, "mul_mat_vec"),
        (16, 4, GPU, "mul_mat_id_matrix"),
        (32, 4, replace(GPU, cooperative_matrix=()), "mul_mat_vec"),
        (33, 4, replace(GPU, cooperative_matrix=()), "mul_mat_id_tile"),
    ],
)
def test_few_tokens_read_experts_rows_each(n_tokens, n_slots, features, stem) -> None:
    w = Storage("w", Kind.WEIGHT, DType.MXFP4, (32, 2880, 2880)).tensor()
    x = Storage("x", Kind.STATE, DType.F32, (n_tokens, n_slots, 2880)).tensor()
    ids = Storage("ids", Kind.STATE, DType.I32, (n_tokens, 4)).tensor()
    g = Graph()
    g.output("y", g.mul_mat_id(w, x, ids))
    fused = fuse(g, lambda node: not refusal(node, features), PART_FUSIONS)
    *lists, call = [lower(node, features) for node in fused.nodes]
    assert call and call.stem == stem and bool(lists) == (stem == "mul_mat_id_matrix")
    assert stem != "mul_mat_vec" or ("WIDE", "") in call.defines
    assert stem != "mul_mat_id_matrix" or ("BY_GROUPS", "") in call.defines


def test_a_device_with_little_shared_memory_takes_smaller_ones() -> None:
    metal, small = (replace(GPU, shared_nbytes=n) for n in (32768, 24576))
    assert tiles(512, REAL, metal) == [LARGE, LARGE]
    assert tiles(512, REAL, small) == [(128, 32), (128, 32)]
