"""The vulkan backend's memory: storages written and read back, blocks, limits, running out."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from vkrun.backends.runs import Runs
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.backends.vulkan.memory import VISIBLE, MemoryType, Pool
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.quants import dequantise, random_blocks
from vkrun.runtime.ir.tensor import Kind, Storage

RNG = np.random.default_rng(7)


@pytest.fixture(params=["mapped", "staged"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[VulkanDevice]:
    """A device whose memory the host sees, and one where all goes through staging buffers."""
    if request.param == "staged":
        monkeypatch.setenv("VKRUN_NO_MAPPED_WEIGHTS", "1")
    opened = BACKEND.open(BACKEND.devices()[0])
    yield opened
    opened.close()


def state(*shape: int, dtype: DType = DType.F32, name: str = "s") -> Storage:
    return Storage(name, Kind.STATE, dtype, shape)


def weight(*shape: int, dtype: DType = DType.F32, name: str = "w") -> Storage:
    return Storage(name, Kind.WEIGHT, dtype, shape)


def numbers(storage: Storage) -> np.ndarray:
    return RNG.integers(0, 256, storage.nbytes, np.uint8).view(storage.dtype.numpy).reshape(storage.shape)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16, DType.I32])
@pytest.mark.parametrize("kind", [Kind.WEIGHT, Kind.STATE, Kind.INPUT])
def test_what_is_written_is_read(device: VulkanDevice, kind: Kind, dtype: DType) -> None:
    storages = [Storage(f"s{n}", kind, dtype, (3, n)) for n in (1, 7, 64, 1001)]
    data = {s: numbers(s) for s in storages}
    device.alloc(storages)
    for s in storages:
        device.write(s, data[s])
    for s in storages:
        assert np.array_equal(device.read(s).view(np.uint8), data[s].view(np.uint8))


def test_weights_go_on_in_hidden_memory_where_the_visible_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    device, allocate = BACKEND.open(BACKEND.devices()[0]), Pool._allocate
    pool = device._living().pools["weight"]
    (kind,) = set(pool._types[:1])
    pool._types = [kind, replace(kind, flags=kind.flags & ~VISIBLE)]

    def allocate_hidden(self: Pool, nbytes: int, kind: MemoryType) -> Any:
        if self is pool and kind.flags & VISIBLE:
            raise MemoryError
        return allocate(self, nbytes, kind)

    first, second = weight(1000, name="first"), weight(3000, name="second")
    device.alloc([first])
    monkeypatch.setattr(Pool, "_allocate", allocate_hidden)
    ((start, end),) = pool._blocks[0].runs.free
    pool._blocks[0].runs.take(end - start)  # full
    device.alloc([second])
    assert [device._living().residents.place(s).is_mapped for s in (first, second)] == [True, False]
    for s in (first, second):
        device.write(s, made := numbers(s))
        assert np.array_equal(device.read(s).view(np.uint8), made.view(np.uint8))
    monkeypatch.undo()
    device.close()


def test_states_and_inputs_start_as_zeros_even_in_used_memory(device: VulkanDevice) -> None:
    old = state(5000, name="old")
    device.alloc([old])
    device.write(old, np.ones(5000, np.float32))
    device.free([old])
    fresh = [state(5000), Storage("i", Kind.INPUT, DType.F32, (77,)), state(0), state(3, dtype=DType.F16)]
    device.alloc(fresh)
    assert all(not device.read(s).any() for s in fresh)


def test_some_rows_are_written_and_the_others_kept(device: VulkanDevice) -> None:
    for s in (state(9, 5), weight(9, 5, dtype=DType.F16), Storage("i", Kind.INPUT, DType.I32, (9, 5))):
        wanted = np.arange(45).reshape(9, 5).astype(s.dtype.numpy)
        device.alloc([s])
        device.write(s, wanted)
        wanted[3:6] = -wanted[3:6]
        device.write(s, wanted[3:6], row=3)
        assert np.array_equal(device.read(s), wanted)


def test_more_than_the_staging_ring_holds(device: VulkanDevice) -> None:
    s = state(17, 1 << 20)
    data = RNG.standard_normal(s.shape).astype(np.float32)
    device.alloc([s])
    device.write(s, data)
    assert np.array_equal(device.read(s), data)


@pytest.mark.parametrize("dtype", [d for d in DType if d.is_quantised])
def test_blocks_are_packed_as_the_shaders_read_them(device: VulkanDevice, dtype: DType) -> None:
    w, g = weight(6, 512, dtype=dtype), Graph()
    raw = random_blocks(dtype, 6, 512, RNG)
    rows = g.get_rows(w.tensor(), g.input("ids", (6,), DType.I32))
    g.output("rows", rows)
    device.alloc([w, g.inputs["ids"].storage])
    device.write(w, raw[:4])
    device.write(w, raw[4:], row=4)
    device.write(g.inputs["ids"].storage, np.arange(6, dtype=np.int32))
    program = device.compile(make_plan(g))
    program.run()
    assert np.allclose(program.read(rows), dequantise(raw, dtype, 512), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("data", "row", "why"),
    [
        (np.zeros((3, 4), np.float64), 0, "s: data of dtype float64, expected float32"),
        (np.zeros((4, 4), np.float32), 0, "s: rows 0 to 4, it has 3"),
        (np.zeros((1, 4), np.float32), 3, "s: rows 3 to 4, it has 3"),
        (np.zeros((1, 4), np.float32), -1, "s: rows -1 to 0, it has 3"),
        (np.zeros(5, np.float32), 0, "s: 20 bytes, expected whole rows of 16"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.STATE, Kind.INPUT])
def test_data_that_does_not_fit_is_refused(
    device: VulkanDevice, kind: Kind, data: np.ndarray, row: int, why: str
) -> None:
    s = Storage("s", kind, DType.F32, (3, 4))
    device.alloc([s])
    with pytest.raises(BackendError, match=why):
        device.write(s, data, row)
    assert not device.read(s).any()


def test_storages_without_memory_are_named(device: VulkanDevice) -> None:
    s = state(4, name="cache")
    for use in (lambda: device.read(s), lambda: device.write(s, np.zeros(4, np.float32))):
        with pytest.raises(BackendError, match="cache: state without memory"):
            use()
    g = Graph()
    g.output("y", g.neg(s.tensor()))
    with pytest.raises(BackendError, match="cache: state without memory"):
        device.compile(make_plan(g))


def test_freed_memory_goes_back_to_the_device(device: VulkanDevice) -> None:
    storages = [weight(1 << 20, name=f"w{i}") for i in range(4)]
    before = device.memory_used()["weight"]
    device.alloc(storages)
    assert device.memory_used()["weight"] == before + (16 << 20)
    device.free(storages[1:3])
    device.free(storages[1:3])  # gone already
    device.alloc(storages[1:2])
    assert device.memory_used()["weight"] == before + (16 << 20)
    device.free(storages)
    assert device.memory_used()["weight"] == before


def test_running_out_of_memory_says_how_much_was_wanted(device: VulkanDevice) -> None:
    n = device.info.memory // 4 // 2
    device.alloc([small := state(4)])
    with pytest.raises(BackendError, match=r"(out of memory for|allows at most)"):
        device.alloc([weight(n, name="a"), weight(n, name="b"), weight(n, name="c")])
    assert not any(s.name in "abc" for s in device._resources.residents)
    assert not device.read(small).any()


def test_blocks_stay_below_the_devices_limits() -> None:
    device = BACKEND.open(BACKEND.devices()[0], limits={"max_allocation": 1 << 20})
    try:
        storages = [state(100_000, name=f"s{i}") for i in range(8)]
        device.alloc(storages)
        residents = device._resources.residents
        blocks = {residents.place(s).block for s in residents}
        assert len(blocks) == 4 and all(b.nbytes <= 1 << 20 for b in blocks)
        with pytest.raises(BackendError, match=r"big: 1200128 bytes, the device allows at most 1048576 in one buffer"):
            device.alloc([state(300_000, name="big")])
    finally:
        device.close()


def test_a_block_hands_out_and_takes_back() -> None:
    block = Runs(1024)
    assert [block.take(256) for _ in range(5)] == [0, 256, 512, 768, None]
    for start in (256, 768, 0):
        block.give(start, 256)
    assert block.free == [(0, 512), (768, 1024)] and block.take(512) == 0
    block.give(512, 256)
    block.give(0, 512)
    assert block.is_empty


@pytest.mark.parametrize("n_threads", [4])
def test_threads_may_write_and_read_at_once(device: VulkanDevice, n_threads: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    storages = [state(50_000, name=f"s{i}") for i in range(n_threads)]
    device.alloc(storages)

    def work(i: int) -> bool:
        for k in range(10):
            data = np.full(50_000, 100 * i + k, np.float32)
            device.write(storages[i], data)
            if not np.array_equal(device.read(storages[i]), data):
                return False
        return True

    with ThreadPoolExecutor(n_threads) as pool:
        assert all(pool.map(work, range(n_threads)))
