"""Memory on kompute: what is written comes back bit for bit, blocks and their limits, freeing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from vkrun.backends.kompute import BACKEND, api, store
from vkrun.backends.kompute.device import KomputeDevice
from vkrun.backends.kompute.transfer import WINDOW_WORDS, _pieces
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.quants import dequantise, random_blocks
from vkrun.runtime.ir.tensor import Kind, Storage

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())


@pytest.fixture(params=[True, False], ids=["on host", "on device"])
def device(request: pytest.FixtureRequest):
    opened = KomputeDevice(BACKEND.devices()[0], request.param)
    yield opened
    opened.close()


def bits(dtype: DType, *shape: int) -> np.ndarray:
    """Every kind of pattern, NaNs of both signs with payloads among them."""
    raw = np.random.default_rng(0).integers(0, 256, (*shape, dtype.numpy.itemsize), np.uint8)
    return raw.view(dtype.numpy)[..., 0]


@pytest.mark.parametrize("kind", [Kind.WEIGHT, Kind.STATE, Kind.INPUT])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16, DType.I32])
@pytest.mark.parametrize("shape", [(), (1,), (7, 5), (3, 1, 33), (2, 0)])
def test_bits_come_back(device: KomputeDevice, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> None:
    before, middle, after = (Storage(n, kind, dtype, shape) for n in "abc")
    device.alloc([before, middle, after])
    data = bits(dtype, *shape)
    for s in (before, after, middle):
        device.write(s, data)
    for s in (before, middle, after):
        assert device.read(s).tobytes() == data.tobytes()
        assert device.read(s).shape == shape


@pytest.mark.parametrize("dtype", [DType.F32, DType.F16])
def test_rows_are_written_alone(device: KomputeDevice, dtype: DType) -> None:
    s = Storage("s", Kind.STATE, dtype, (9, 5))
    device.alloc([s])
    wanted = np.zeros((9, 5), dtype.numpy)
    for row, n in ((3, 1), (0, 2), (8, 1), (5, 3)):
        wanted[row : row + n] = data = bits(dtype, n, 5)
        device.write(s, data, row)
        assert device.read(s).tobytes() == wanted.tobytes()


def test_states_and_inputs_start_as_zeros(device: KomputeDevice) -> None:
    for _ in range(2):
        storages = [Storage(k.name, k, DType.I32, (1000,)) for k in (Kind.STATE, Kind.INPUT)]
        device.alloc(storages)
        for s in storages:
            assert not device.read(s).any()
            device.write(s, np.full(1000, -1, np.int32))
        device.free(storages)


@pytest.mark.parametrize("dtype", [DType.Q4_0, DType.Q8_0, DType.Q6_K, DType.Q4_K, DType.MXFP4])
def test_block_types_are_packed_row_by_row(device: KomputeDevice, dtype: DType) -> None:
    n = 2 * dtype.block
    raw = random_blocks(dtype, 6, n, np.random.default_rng(1))
    g = Graph()
    table = Storage("table", Kind.WEIGHT, dtype, (6, n)).tensor()
    ids = g.input("ids", (6,), DType.I32)
    g.output("rows", g.get_rows(table, ids))
    device.alloc([table.storage, ids.storage])
    for row in (4, 0, 2):
        device.write(table.storage, raw[row : row + 2], row)
    device.write(ids.storage, np.arange(6, dtype=np.int32))
    program = device.compile(make_plan(g))
    program.run()
    np.testing.assert_allclose(program.read(g.outputs["rows"]), dequantise(raw, dtype, n), rtol=1e-6, atol=1e-7)
    assert np.array_equal(device.read(table.storage), raw)
    assert np.array_equal(device.read(table.storage, 2, 3), raw[2:5])


def test_more_than_a_window_at_once(device: KomputeDevice) -> None:
    s = Storage("s", Kind.STATE, DType.I32, (WINDOW_WORDS + 1003,))
    device.alloc([s])
    data = bits(DType.I32, *s.shape)
    device.write(s, data)
    assert np.array_equal(device.read(s), data)


def test_pieces_cover_a_run_in_powers_of_two() -> None:
    for n in (0, 1, 2, 3, 64, 1003, WINDOW_WORDS):
        pieces = list(_pieces(n))
        assert [lo for lo, _ in pieces] == [0, *(hi for _, hi in pieces)][: len(pieces)]
        assert sum(hi - lo for lo, hi in pieces) == n
        assert all((hi - lo) & (hi - lo - 1) == 0 for lo, hi in pieces)


@pytest.mark.parametrize(("limit", "n_blocks"), [(1024, 4), (0, 8)])
def test_many_blocks_and_an_arena_over_the_limit(device: KomputeDevice, limit: int, n_blocks: int) -> None:
    """With 1 KiB a block: eight weights take four blocks, and the arena is given up."""
    device._store._limit = limit
    g = Graph()
    x = g.input("x", (96,))
    weights = [Storage(f"w{i}", Kind.WEIGHT, DType.F32, (96,)).tensor() for i in range(8)]
    sums = [g.add(x, w) for w in weights]
    total = sums[0]
    for s in sums[1:]:
        total = g.add(total, s)
    g.output("total", total)
    plan = make_plan(g)
    assert plan.arena.nbytes > 1024
    device.alloc([x.storage, *(w.storage for w in weights)])
    assert len({device._store.place_of(w.storage).block for w in weights}) == n_blocks
    data = np.random.default_rng(2).standard_normal((9, 96)).astype(np.float32)
    for t, values in zip([x, *weights], data, strict=True):
        device.write(t.storage, values)
    program = device.compile(plan)
    program.run()
    np.testing.assert_allclose(program.read(total), 8 * data[0] + data[1:].sum(0), rtol=1e-5, atol=1e-5)


def test_too_large_a_tensor_is_named_and_takes_nothing(device: KomputeDevice) -> None:
    small = Storage("small", Kind.WEIGHT, DType.F32, (4,))
    big = Storage("blk.0.big.weight", Kind.STATE, DType.F32, (api.BLOCK_NBYTES // 4 + 1,))
    with pytest.raises(BackendError, match=r"blk.0.big.weight: 134217732 bytes, .* at most 134217728"):
        device.alloc([small, big])
    with pytest.raises(BackendError, match="small: weight without memory"):
        device.read(small)


def test_memory_that_the_machine_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device = KomputeDevice(BACKEND.devices()[0], True)
    monkeypatch.setattr(store, "host_nbytes_free", lambda: 1000)
    with pytest.raises(BackendError, match=r"kompute: out of memory for a buffer: .* 0\.0 MiB free"):
        device.alloc([Storage("s", Kind.STATE, DType.F32, (1024,))])
    device.close()


def test_bad_writes_are_refused(device: KomputeDevice) -> None:
    s = Storage("blk.3.x", Kind.STATE, DType.F32, (4, 6))
    with pytest.raises(BackendError, match=r"blk\.3\.x: state without memory"):
        device.write(s, np.zeros((4, 6), np.float32))
    device.alloc([s])
    for data, row, why in (
        (np.zeros((4, 6)), 0, "data of dtype float64"),
        (np.zeros(7, np.float32), 0, "whole rows of 24"),
        (np.zeros((4, 6), np.float32), 1, "rows 1 to 5, it has 4"),
        (np.zeros((1, 6), np.float32), -1, "rows -1 to 0, it has 4"),
    ):
        with pytest.raises(BackendError, match=rf"blk\.3\.x: .*{why}"):
            device.write(s, data, row)
    assert not device.read(s).any()
    odd = Storage("odd", Kind.STATE, DType.F16, (3, 1))
    device.alloc([odd])
    with pytest.raises(BackendError, match="odd: rows 3 to 4, it has 3"):
        device.write(odd, np.ones((1, 1), np.float16), 3)


def test_freed_memory_can_be_had_again_and_the_rest_stays(device: KomputeDevice) -> None:
    kept = Storage("kept", Kind.STATE, DType.F32, (100,))
    device.alloc([kept])
    device.write(kept, np.ones(100, np.float32))
    for _ in range(20):
        other = Storage("other", Kind.STATE, DType.F32, (1 << 18,))
        device.alloc([other])
        device.write(other, np.full(1 << 18, 2, np.float32))
        assert device.read(other).min() == 2
        device.free([other, other])
    assert (device.read(kept) == 1).all()
    assert len(device._store._transfers._blocks) <= 3


def test_threads_do_not_mix_up_their_bytes(device: KomputeDevice) -> None:
    storages = [Storage(f"s{i}", Kind.STATE, DType.I32, (5000,)) for i in range(4)]
    device.alloc(storages)

    def use(i: int) -> bool:
        data = np.arange(5000, dtype=np.int32) * (i + 1)
        for _ in range(10):
            device.write(storages[i], data)
            if not np.array_equal(device.read(storages[i]), data):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(4)))
