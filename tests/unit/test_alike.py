"""Of nodes alike one is asked about, and one is made a call of a kernel."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.alike import Alike, asked_once
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Branch, Graph, Node
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders.catalogue import lower, lower_all, refusal
from vkrun.shaders.kernel import Features, KernelCall
from vkrun.tests.nodes import bare

GPU = Features(subgroup_size=32, shared_nbytes=49152, max_workgroup=1024, delta_chunks=True, float16=True, int_dot=True)


def elsewhere(node: Node) -> Node:
    """The same over other storages."""
    moved = {t.storage: replace(t.storage, name="other") for t in (*node.inputs, *node.outputs)}
    ins, outs = (tuple(replace(t, storage=moved[t.storage]) for t in ts) for ts in (node.inputs, node.outputs))
    return replace(node, inputs=ins, outputs=outs, name="other")


def said(call: KernelCall | None) -> tuple:
    """All of a call, tensors by what they are."""

    def shown(value: object) -> object:
        return (value.dtype, value.layout, value.storage) if isinstance(value, Tensor) else value

    if call is None:
        return ()
    named = ({name: shown(v) for name, v in values.items()} for values in (call.buffers, call.arguments))
    return call.stem, call.defines, *named, call.grid, dict(call.constants)


@pytest.mark.parametrize("features", [GPU, Features()], ids=["gpu", "poorest"])
def test_calls_of_nodes_alike_are_those_made_one_by_one(features: Features) -> None:
    n_moved = 0
    for case in cases_for(features.software)[::3]:
        node = bare(case).node
        if refusal(node, features):
            continue
        other = elsewhere(node)
        first, second = lower_all([node, other], features)
        assert said(first) == said(lower(node, features)) and said(second) == said(lower(other, features)), case
        n_moved += second is not None and second is not first
    assert n_moved > 200


def test_what_no_kernel_runs_is_named() -> None:
    x = Graph().input("x", (4, 4), DType.I32)
    with pytest.raises(BackendError, match=r"^there: \[rms_norm\]"):
        list(lower_all([Node("rms_norm", (x,), (x,), {"eps": 1e-6}, "there")], Features()))


def unlike(a: Tensor, b: Tensor) -> Iterator[Node]:
    """Each differs from add(a, b) into a new storage in one thing that kernels may look at."""
    y = Storage("y", Kind.TEMP, DType.F32, (2, 3)).tensor()
    yield Node("mul", (a, b), (y,))
    yield Node("add", (a, b), (y,), {"x": 1})
    yield Node("add", (a, b), (y,), {"x": 2})
    yield Node("add", (a, a), (y,))
    yield Node("add", (a, b), (a,))
    yield Node("add", (a, b), (b,))
    yield Node("add", (a,), (b, y))
    yield Node("add", (a, b), (y,), branch=Branch(a, 0))
    yield Node("add", (a, replace(b, layout=replace(b.layout, offset=2))), (y,))
    for other in (
        replace(b.storage, kind=Kind.WEIGHT),
        replace(b.storage, shape=(3, 3)),
        replace(b.storage, dtype=DType.I32),
    ):
        yield Node("add", (a, replace(b, storage=other)), (y,))
    yield Node("add", (a, replace(b, dtype=DType.I32)), (y,))


def test_what_kernels_may_look_at_tells_nodes_apart() -> None:
    a, b = (Storage(name, Kind.STATE, DType.F32, (2, 3)).tensor() for name in "ab")
    alike, plain = Alike(), Node("add", (a, b), (Storage("y", Kind.TEMP, DType.F32, (2, 3)).tensor(),))
    keys = [alike.key(plain), *map(alike.key, unlike(a, b))]
    assert len(set(keys)) == len(keys) > 10
    assert alike.key(elsewhere(plain)) == keys[0]


def test_of_nodes_alike_one_is_asked_about() -> None:
    asked: list[str] = []

    def refuses(node: Node) -> str:
        asked.append(node.name)
        return "no" if node.op == "mul" else ""

    answer = asked_once(refuses)
    a, b = (Storage(name, Kind.STATE, DType.F32, (2, 3)).tensor() for name in "ab")
    nodes = [Node(op, (a, b), (a,), name=f"{op} {i}") for op in ("add", "mul") for i in range(3)]
    assert [answer(n) for n in nodes] == ["", "", "", "no", "no", "no"] and asked == ["add 0", "mul 0"]
