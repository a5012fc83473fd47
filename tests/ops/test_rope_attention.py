"""Attention of one token as a model builds it becomes one dispatch, or with more keys one and the combination of parts,
where nobody else wants what is in between; the numbers are those of the graph's meaning."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from vkrun.backends.base import Device
from vkrun.backends.cpu import BACKEND as CPU
from vkrun.backends.host import BACKEND as HOST
from vkrun.runtime.ir.composites import attention, cache_write
from vkrun.runtime.ir.composites.rope_attention import MOST_KEYS
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import Plan, lean_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.attention.attention_decode_matrix import FEWEST_KEYS
from vkrun.tests.comparing import nmse

pytestmark = pytest.mark.skipif(bool(HOST.why_missing()), reason=HOST.why_missing())

N_HEADS, N_KEYS, DIM, N_TURNED, N_CTX, MANY = 8, 2, 64, 32, 2100, 600
POSITIONS, SLOTS = (200, 7), (2, 0)
WHOLE, SPLIT = ["rope_attention"], ["rope_attention_split", "attention_combine"]
INPUTS, PARTS, UNDIVIDED = ["qk_rope_cache"], ["attention_split", "attention_combine"], ["attention"]
BY_KEYS = pytest.mark.parametrize(("n_kv", "after"), [(MOST_KEYS, UNDIVIDED), (512, PARTS)])


@dataclass
class Model:
    """A graph, and what its storages hold."""

    g: Graph = field(default_factory=Graph)
    contents: dict[Storage, np.ndarray] = field(default_factory=dict)

    def given(self, name: str, kind: Kind, data: np.ndarray) -> Tensor:
        dtype = {"f": DType.F32, "e": DType.F16, "i": DType.I32}[data.dtype.char]
        storage = Storage(name, kind, dtype, data.shape)
        self.contents[storage] = data
        return storage.tensor()

    def numbers(self, name: str, *shape: int, kind: Kind = Kind.WEIGHT, dtype: str = "f") -> Tensor:
        rng = np.random.default_rng(len(self.contents))
        return self.given(name, kind, rng.standard_normal(shape, np.float32).astype(dtype))

    def ints(self, name: str, *values: int) -> Tensor:
        return self.given(name, Kind.INPUT, np.array(values, np.int32))


def built(way: str, normed: bool = True, dtype: str = "e", n: int = 2, n_kv: int = MOST_KEYS) -> Model:
    """A gated layer of n sequences with its projections; `way`: what is unusual."""
    m, g = Model(), Graph()
    m.g, x = g, m.numbers("x", n, 48, kind=Kind.INPUT)
    pos, slots = m.ints("pos", *POSITIONS[:n]), m.ints("slots", *SLOTS[:n])
    rows = m.ints("rows", *(slot * N_CTX + p for slot, p in zip(SLOTS[:n], POSITIONS, strict=False)))
    caches = [m.numbers(f"{c} cache", 3, N_CTX, N_KEYS * DIM, kind=Kind.STATE, dtype=dtype) for c in "kv"]
    table, heads = m.numbers("table", 700, N_TURNED, kind=Kind.CONSTANT), (N_HEADS, N_KEYS, N_KEYS)
    q, k, v = (g.mul_mat(m.numbers(f"w{h}", h * DIM, 48), x) for h in heads)
    if way == "biases":
        q, k, v = (g.add(t, m.numbers(f"bias {t}", t.shape[1])) for t in (q, k, v))
    q, k, v = (t.reshape(1, n, h, DIM) for t, h in zip((q, k, v), heads, strict=True))
    gate = g.mul_mat(m.numbers("gate", N_HEADS * DIM, 48), x).reshape(n, 1, N_HEADS, DIM)
    if normed:
        q, k = (g.rms_norm_scale(t, m.numbers(f"norm {t}", DIM), 1e-6) for t in (q, k))
    q, k = (g.rope(t, pos.reshape(1, n), table) for t in (q, k))
    for cache, t in zip(caches, (k, v), strict=True):
        cache_write(g, cache, rows, t)
    if way == "scales":
        q = g.mul(q, g.get_rows(m.numbers("scales", 700, 1), pos.reshape(1, n)).unsqueeze(3))
    if way == "queries read by others":
        g.output("q", q)
    if way == "a cache read in between":
        g.output("row", g.contiguous(caches[0].select(0, 1)))
    sinks = m.numbers("sinks", N_HEADS) if way == "sinks" else None
    options = {"sinks": sinks, "window": {"a window": 100, "a wide window": 512}.get(way, 0)}
    m.g.output("y", _attended(g, q, caches, slots, pos, gate, n_kv, way == "two groups", **options))
    return m


def _attended(
    g: Graph,
    q: Tensor,
    caches: list[Tensor],
    slots: Tensor,
    pos: Tensor,
    gate: Tensor,
    n_kv: int,
    apart: bool,
    **options: Any,
) -> Tensor:
    n = slots.shape[0]
    made = [
        attention(
            g,
            q.reshape(n, 1, N_HEADS, DIM).slice(0, i, j),
            *caches,
            slots.slice(0, i, j),
            pos.reshape(n, 1).slice(0, i, j),
            0.11,
            n_kv,
            gate.slice(0, i, j),
            **options,
        )
        for i, j in (((0, 1), (1, 2)) if apart else ((0, n),))
    ]
    return made[0] if len(made) == 1 else g.concat(*made, 0)


def ops_of(plan: Plan) -> list[str]:
    return [n.op for n in plan.nodes if "attention" in n.op or n.op == "qk_rope_cache"]


def results(m: Model, device: Device, plan: Plan) -> list[np.ndarray]:
    """What the layer makes, and its caches behind it."""
    device.alloc(m.contents)
    for storage, data in m.contents.items():
        device.write(storage, data)
    program = device.compile(plan)
    program.run()
    made = program.read(plan.graph.outputs["y"])
    program.close()
    return [made, *(device.read(s).astype(np.float32) for s in m.contents if s.kind is Kind.STATE)]


@pytest.fixture(scope="module")
def host() -> Iterator[Device]:
    device = HOST.open(HOST.devices()[0])
    yield device
    device.close()


@pytest.mark.parametrize(("n", "n_kv", "ops"), [(2, MOST_KEYS, WHOLE), (1, MANY, SPLIT), (2, FEWEST_KEYS, SPLIT)])
@pytest.mark.parametrize("normed", [True, False])
def test_a_layer_is_few_dispatches_and_means_the_same(
    normed: bool, n: int, n_kv: int, ops: list[str], host: Device
) -> None:
    m, cpu = built("", normed, n=n, n_kv=n_kv), CPU.open(CPU.devices()[0])
    plan = lean_plan(m.g, 3, host.supports)
    assert ops_of(plan) == ops
    got, wanted = results(m, host, plan), results(m, cpu, lean_plan(m.g, 0, cpu.supports))
    assert max(map(nmse, got, wanted)) < 1e-7
    before = [data for s, data in m.contents.items() if s.kind is Kind.STATE]
    assert [(g != b).any(-1).sum() for g, b in zip(got[1:], before, strict=True)] == [n] * 2


@BY_KEYS
@pytest.mark.parametrize("way", ["queries read by others", "a cache read in between"])
def test_what_others_want_stays_apart(way: str, n_kv: int, after: list[str], host: Device) -> None:
    assert ops_of(lean_plan(built(way, n_kv=n_kv).g, 3, host.supports)) == INPUTS + after


@BY_KEYS
@pytest.mark.parametrize(("way", "normed", "name"), [("biases", True, "q_bias"), ("scales", False, "q_scales")])
def test_inputs_made_with_more_stay_apart(
    way: str, normed: bool, name: str, n_kv: int, after: list[str], host: Device
) -> None:
    plan = lean_plan(built(way, normed, n_kv=n_kv).g, 3, host.supports)
    assert ops_of(plan) == INPUTS + after
    assert [name in n.attrs["extra"] for n in plan.nodes if n.op in INPUTS] == [True]


@BY_KEYS
def test_two_groups_stay_apart(n_kv: int, after: list[str], host: Device) -> None:
    found = ops_of(lean_plan(built("two groups", n_kv=n_kv).g, 3, host.supports))
    assert sorted(found) == sorted(INPUTS + after * 2)


@pytest.mark.parametrize("n_kv", [MOST_KEYS, 512])
def test_few_keys_of_a_window_are_left_to_attention(n_kv: int, host: Device) -> None:
    assert ops_of(lean_plan(built("a window", n_kv=n_kv).g, 3, host.supports)) == INPUTS + UNDIVIDED


def test_a_wide_window_has_as_many_parts_as_its_keys_are_worth(host: Device) -> None:
    m, cpu = built("a wide window", n_kv=N_CTX), CPU.open(CPU.devices()[0])
    plan = lean_plan(m.g, 3, host.supports)
    assert ops_of(plan) == INPUTS + PARTS
    assert [n.attrs["n_split"] for n in plan.nodes if n.op == PARTS[0]] == [512 // 32]
    assert max(map(nmse, results(m, host, plan), results(m, cpu, lean_plan(m.g, 0, cpu.supports)))) < 1e-7


@pytest.mark.parametrize(("n_kv", "ops"), [(MOST_KEYS, INPUTS + UNDIVIDED), (512, SPLIT)])
def test_sinks_meet_the_parts_behind_them(n_kv: int, ops: list[str], host: Device) -> None:
    m, cpu = built("sinks", n=1, n_kv=n_kv), CPU.open(CPU.devices()[0])
    plan = lean_plan(m.g, 3, host.supports)
    assert ops_of(plan) == ops
    assert max(map(nmse, results(m, host, plan), results(m, cpu, lean_plan(m.g, 0, cpu.supports)))) < 1e-7


@BY_KEYS
def test_caches_of_floats_stay_apart(n_kv: int, after: list[str], host: Device) -> None:
    assert ops_of(lean_plan(built("", dtype="f", n_kv=n_kv).g, 3, host.supports)) == INPUTS + after
