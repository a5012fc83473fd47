"""Poor devices tried on a rich one: tiny bindings, and features masked off."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.quants import dequantise, random_blocks
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.kernel import Features

RNG = np.random.default_rng(11)
LIMIT = 4096


@pytest.fixture
def device() -> Iterator[VulkanDevice]:
    opened = BACKEND.open(BACKEND.devices()[0], limits={"max_binding": LIMIT, "alignment": 64})
    yield opened
    opened.close()


def weight(*shape: int, dtype: DType = DType.F32) -> Storage:
    return Storage("blk.0.w", Kind.WEIGHT, dtype, shape)


def run(device: VulkanDevice, g: Graph, contents: dict[Storage, np.ndarray]) -> dict[str, np.ndarray]:
    device.alloc(contents)
    for storage, data in contents.items():
        device.write(storage, data)
    program = device.compile(make_plan(g))
    program.run()
    return {name: program.read(t) for name, t in g.outputs.items()}


@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.Q4_0, DType.Q8_0, DType.Q6_K])
@pytest.mark.parametrize("n", [1, 4, 11])
def test_a_product_with_a_weight_over_the_binding_limit(device: VulkanDevice, dtype: DType, n: int) -> None:
    w, g = weight(403, 256, dtype=dtype), Graph()
    raw, x = random_blocks(dtype, 403, 256, RNG), RNG.standard_normal((n, 256)).astype(np.float32)
    g.output("y", g.mul_mat(w.tensor(), g.input("x", (n, 256))))
    data = raw if dtype.is_quantised else raw.view(dtype.numpy)
    got = run(device, g, {w: data, g.inputs["x"].storage: x})["y"]
    assert np.allclose(got, x @ dequantise(raw, dtype, 256).T, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("max_pushed", [128, 64])
def test_buffers_are_bound_where_not_all_addresses_can_be_pushed(max_pushed: int) -> None:
    """Some of these shaders' at 128, and none's at 64: the same numbers either way."""
    results = []
    for limits in ({}, {"max_pushed": max_pushed}):
        device = BACKEND.open(BACKEND.devices()[0], limits=limits)
        w, g, rng = weight(40, 96, dtype=DType.F16), Graph(), np.random.default_rng(1)
        x = g.input("x", (3, 96))
        g.output("y", g.l2_norm(g.mul_mat(w.tensor(), g.add(x, x)), 1e-6))
        halves, data = (rng.standard_normal(s).astype(t) for s, t in (((40, 96), np.float16), ((3, 96), np.float32)))
        results.append(run(device, g, {w: halves, x.storage: data})["y"])
        device.close()
    assert np.array_equal(*results) and np.isfinite(results[0]).all()


def test_a_split_product_is_timed_as_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VKRUN_SUBMIT_GFLOP", "0.001")
    device = BACKEND.open(BACKEND.devices()[0], limits={"max_binding": 1 << 20})
    w, g = weight(3000, 512), Graph()
    g.output("y", g.neg(g.mul_mat(w.tensor(), g.input("x", (2, 512)))))
    device.alloc([w, g.inputs["x"].storage])
    taken = device.compile(make_plan(g)).profile()
    device.close()
    assert len(taken) == 2 and all(0 < t < 10 for t in taken)


def test_a_product_split_at_batch_axes(device: VulkanDevice) -> None:
    w, g = weight(2, 3, 20, 64), Graph()
    a, x = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 3, 20, 64), (2, 6, 2, 64)))
    g.output("y", g.mul_mat(w.tensor(), g.input("x", (2, 6, 2, 64))))
    got = run(device, g, {w: a, g.inputs["x"].storage: x})["y"]
    assert np.allclose(got, x @ np.repeat(a, 2, 1).swapaxes(-1, -2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", [0, 1, 33, 999])
def test_a_view_of_a_storage_over_the_limit_is_bound_at_its_own_rows(device: VulkanDevice, row: int) -> None:
    s, g = Storage("cache", Kind.STATE, DType.F32, (1000, 33)), Graph()
    x = g.input("x", (1, 33))
    view: Tensor = s.tensor().slice(0, row, row + 1)
    g.output("y", g.add(view, x))
    g.cpy(x, view)
    data, x_data = RNG.standard_normal((1000, 33)).astype(np.float32), np.ones((1, 33), np.float32)
    got = run(device, g, {s: data, x.storage: x_data})["y"]
    assert np.array_equal(got, data[row : row + 1] + 1)
    data[row] = 1
    assert np.array_equal(device.read(s), data)


@pytest.mark.parametrize("dtype", [DType.F16, DType.Q6_K])
def test_rows_of_a_table_over_the_binding_limit(device: VulkanDevice, dtype: DType) -> None:
    w, g = weight(203, 256, dtype=dtype), Graph()
    raw, n = random_blocks(dtype, 203, 256, RNG), 4
    g.output("y", g.get_rows(w.tensor(), g.input("ids", (n,), DType.I32)))
    data = raw if dtype.is_quantised else raw.view(dtype.numpy)
    for ids in ([202, 0, 57, 300], [-4, 101, 201, 57]):
        got = run(device, g, {w: data, g.inputs["ids"].storage: np.array(ids, np.int32)})["y"]
        assert np.allclose(got, dequantise(raw, dtype, 256)[np.clip(ids, 0, 202)], rtol=1e-6)


def _normed(g: Graph, w: Tensor) -> Tensor:
    return g.rms_norm(w.reshape(1, 1000 * 33), 1e-6)


def _one_long_row(g: Graph, w: Tensor) -> Tensor:
    return g.mul_mat(w.reshape(1, 1000 * 33), g.input("x", (1, 33_000)))


@pytest.mark.parametrize("use", [_normed, _one_long_row])
def test_what_cannot_be_split_is_refused_with_name_size_and_limit(
    device: VulkanDevice, use: Callable[[Graph, Tensor], Tensor]
) -> None:
    w, g = weight(1000, 33), Graph()
    g.output("y", use(g, w.tensor()))
    why = rf"blk\.0\.w: \[\w+\] reads 132000 bytes of it at once, the device binds at most {LIMIT}"
    device.alloc([w, *(t.storage for t in g.inputs.values())])
    assert "132000 bytes" in device.supports(g.nodes[0])
    with pytest.raises(BackendError, match=why):
        device.compile(make_plan(g))


@pytest.mark.parametrize(
    ("switch", "feature"),
    [
        ("SUBGROUP", "subgroup_size"),
        ("FP16", "float16"),
        ("INT_DOT", "int_dot"),
        ("COOPMAT", "cooperative_matrix"),
        ("DELTA_CHUNKS", "delta_chunks"),
    ],
)
def test_each_switch_masks_its_feature(monkeypatch: pytest.MonkeyPatch, switch: str, feature: str) -> None:
    before = BACKEND.devices()[0].features
    monkeypatch.setenv(f"VKRUN_NO_{switch}", "1")
    after = BACKEND.devices()[0].features
    assert not after[feature]
    assert {k: v for k, v in after.items() if k != feature} == {k: v for k, v in before.items() if k != feature}


def test_a_device_with_all_features_off_opens_and_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in ("SUBGROUP", "FP16", "INT_DOT", "COOPMAT", "MEMORY_BUDGET"):
        monkeypatch.setenv(f"VKRUN_NO_{switch}", "1")
    info = BACKEND.devices()[0]
    assert info.memory_free is None
    device = BACKEND.open(info)
    g = Graph()
    g.output("y", g.softmax(g.input("x", (3, 100))))
    got = run(device, g, {g.inputs["x"].storage: np.zeros((3, 100), np.float32)})["y"]
    assert np.allclose(got, 0.01)
    device.close()


def test_the_default_features_are_those_of_no_device_in_particular() -> None:
    assert not any(v for k, v in Features().offered().items() if k not in ("shared_nbytes", "max_workgroup"))
