"""Every feature of a device is read by some kernel, and without it others are chosen."""

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph, Node
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.table import cases_for
from vkrun.runtime.tuning import MOST, Tuning
from vkrun.shaders.attention.attention_decode_matrix import FEWEST_KEYS
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import Features
from vkrun.tests.nodes import bare

RICH = Features(
    subgroup_size=32,
    float16=True,
    int_dot=True,
    cooperative_matrix=((16, 16, 16),),
    shared_nbytes=49152,
    warpgroup_nbytes=232448,
    max_workgroup=1024,
    delta_chunks=True,
    nvrtc=True,
)
POOR = Features(tuning=Tuning(some_cols=MOST))


def nodes() -> Iterator[Node]:
    """The op table's, and a product large enough for every kind of kernel."""
    yield from (bare(case).node for case in cases_for(is_software=False))
    g, w = Graph(), Storage("w", Kind.WEIGHT, DType.Q4_0, (512, 2048))
    g.mul_mat(w.tensor(), g.input("x", (128, 2048)))
    yield from g.nodes


@pytest.fixture(scope="module")
def table() -> list[Node]:
    return list(nodes())


def chosen(node: Node, features: Features) -> tuple | None:
    if refusal(node, features):
        return None
    call = lower(node, features)
    return call and (call.stem, call.defines, call.constants, call.grid)


@pytest.mark.parametrize("name", [f.name for f in fields(Features)])
def test_without_a_feature_other_kernels_are_chosen(name: str, table: list[Node]) -> None:
    poorer = replace(RICH, **{name: True if name == "software" else getattr(POOR, name)})
    assert any(chosen(node, RICH) != chosen(node, poorer) for node in table)


@pytest.mark.parametrize(
    ("n_heads", "n_keys", "dim", "n_kv", "dtype", "stem"),
    [
        (16, 2, 256, FEWEST_KEYS, DType.F16, "attention_decode_matrix"),
        (16, 2, 256, FEWEST_KEYS - 1, DType.F16, "attention_decode"),
        (16, 2, 256, 256, DType.F16, "attention_decode_few"),  # eight parts
        (16, 2, 256, 257, DType.F16, "attention_decode"),
        (16, 2, 256, 256, DType.F32, "attention_decode"),
        (32, 8, 128, 2 * FEWEST_KEYS, DType.F16, "attention_decode_matrix"),
        (16, 8, 128, 2 * FEWEST_KEYS, DType.F16, "attention_decode"),  # two heads a key: matrices of 16 rows are empty
        (64, 8, 64, 2 * FEWEST_KEYS, DType.F16, "attention_decode_matrix"),
        (64, 8, 96, 2 * FEWEST_KEYS, DType.F16, "attention_decode"),
        (16, 2, 256, 2 * FEWEST_KEYS, DType.F32, "attention_decode"),
    ],
)
def test_long_caches_of_halves_are_read_by_matrices(
    n_heads: int, n_keys: int, dim: int, n_kv: int, dtype: DType, stem: str
) -> None:
    k, v = (Storage(name, Kind.STATE, dtype, (1, n_kv, n_keys * dim)).tensor() for name in "kv")
    g = Graph()
    slots, pos = g.input("slots", (1,), DType.I32), g.input("pos", (1, 1), DType.I32)
    q, attrs = g.input("q", (1, 1, n_heads, dim)), {"scale": 1.0, "n_kv": n_kv, "n_split": 8}
    g.emit("attention_split", q, k, v, slots, pos, **attrs)
    call = lower(g.nodes[-1], RICH)
    assert call is not None and call.stem == stem
