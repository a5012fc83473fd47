"""What CUDA devices of several kinds have, and that kernels fall back where they have less."""

import pytest
from vkrun.backends.cuda import BACKEND, nvrtc
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.shaders.catalogue import lower
from vkrun.tests.cuda_stand_in import ATTRIBUTES, StandIn

NAMED = ("cooperative_matrix", "float16", "int_dot", "subgroup_size", "warpgroup_nbytes")


@pytest.mark.parametrize(
    ("capability", "off", "without"),
    [
        ((7, 5), "", ("warpgroup_nbytes",)),
        ((7, 0), "", ("cooperative_matrix", "warpgroup_nbytes")),
        ((12, 0), "", ("warpgroup_nbytes",)),
        ((9, 0), "", ()),
        ((9, 0), "COOPMAT", ("cooperative_matrix", "warpgroup_nbytes")),
        ((9, 0), "SUBGROUP", ("cooperative_matrix", "subgroup_size", "warpgroup_nbytes")),
        ((9, 0), "FP16", ("float16",)),
        ((9, 0), "INT_DOT", ("int_dot",)),
        ((9, 0), "WARPGROUPS", ("warpgroup_nbytes",)),
    ],
)
def test_products_fall_back_without_what_they_need(
    put_in, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], off: str, without: tuple[str, ...]
) -> None:
    for name, value in zip(("MAJOR", "MINOR"), capability, strict=True):
        monkeypatch.setitem(ATTRIBUTES, f"COMPUTE_CAPABILITY_{name}", value)
    monkeypatch.setattr(nvrtc, "architecture", lambda _capability: "sm_75")
    monkeypatch.setenv(f"VKRUN_NO_{off or 'NOTHING'}", "1")
    put_in(StandIn())
    (info,) = BACKEND.devices()
    assert tuple(name for name in NAMED if not info.features[name]) == without
    device = BACKEND.open(info)
    (call,) = (lower(node, device.features) for node in product().nodes)
    needed = {"cooperative_matrix", "float16"}
    assert call is not None and (call.code.stem == "mul_mat_matrix") == needed.isdisjoint(without)
    device.close()


def product() -> Graph:
    """Large enough for cooperative matrices."""
    g, w = Graph(), Storage("w", Kind.WEIGHT, DType.Q4_0, (512, 2048))
    g.mul_mat(w.tensor(), g.input("x", (512, 2048)))
    return g
