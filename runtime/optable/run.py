"""Runs a case on a device and on the numpy reference, and compares inside and around every output."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ...backends.base import Device
from ...backends.cpu import BACKEND as CPU
from ..errors import VkrunError
from ..ir.arrays import elements_of
from ..ir.dtypes import DType, from_bf16
from ..ir.graph import Graph, Node
from ..ir.layout import Layout, contiguous_strides
from ..ir.plan import Plan, lean_plan, make_plan
from ..ir.quants import dequantise
from ..ir.tensor import Kind, Storage, Tensor
from .case import Case


@dataclass(frozen=True)
class Outcome:
    """`status` is "pass", "fail" or "refused"; `why` tells of the latter two. Figures are of the worst output."""

    case: Case
    status: str
    why: str = ""
    nmse: float = 0.0
    row: float = 0.0


@dataclass(frozen=True)
class Setting:
    """A case made concrete: a graph of one node whose outputs stand in guarded storages, and all contents."""

    node: Node
    graph: Graph
    contents: dict[Storage, np.ndarray]


def run_case(case: Case, device: Device, level: int | None = None) -> Outcome:
    """The case's op as one node; with a level (0 to 3) as that level plans it, decomposed or whole."""
    setting = prepare_for(case, device)
    if level is None and (why := device.supports(setting.node)):
        if case.in_one:
            return Outcome(case, "refused", why)
        level = 3
    try:
        plan = planned(setting, device, level)
        got = run(setting, device, plan)
    except VkrunError as error:
        return Outcome(case, "fail", str(error))
    return compare(limited(case, device, plan), setting, got, execute(setting, CPU.open(CPU.devices()[0])))


def prepare_for(case: Case, device: Device) -> Setting:
    """The case without its spare operands where the device has no kernel for them."""
    setting = prepare(case)
    if case.n_spare and device.supports(setting.node):
        return prepare(replace(case, operands=case.operands[: -case.n_spare]))
    return setting


def prepare(case: Case) -> Setting:
    rng = np.random.default_rng(zlib.crc32(f"{case.op} {case.what}".encode()))
    contents: dict[Storage, np.ndarray] = {}
    tensors = []
    for i, operand in enumerate(case.operands):
        kind = Kind.WEIGHT if operand.dtype.is_quantised and not operand.cached else Kind.STATE
        storage = Storage(f"in{i}", kind, operand.dtype, operand.shape)
        contents[storage] = operand.data(rng)
        tensors.append(operand.view(storage.tensor()))
    graph = Graph()
    graph.emit(case.op, *tensors, **case.attrs)
    node = _guarded(graph.nodes[0], case, contents, rng)
    return Setting(node, graph.replaced([node]), contents)


def _guarded(node: Node, case: Case, contents: dict[Storage, np.ndarray], rng: np.random.Generator) -> Node:
    outputs = []
    for t in node.outputs:
        if t.storage.kind is Kind.TEMP:
            t = _guarded_output(t, case.strided_out, case.guard)
            contents[t.storage] = rng.integers(1, 1000, t.storage.shape).astype(t.dtype.numpy)
        outputs.append(t)
    return Node(node.op, node.inputs, tuple(outputs), node.attrs, case.op)


def _guarded_output(t: Tensor, strided: bool, guard: int) -> Tensor:
    room = (*t.shape[:-1], t.shape[-1] + 5) if strided and t.shape else t.shape
    storage = Storage("out", Kind.STATE, t.dtype, (int(np.prod(room)) + 2 * guard,))
    return Tensor(t.dtype, Layout(t.shape, contiguous_strides(room), guard), storage)


def execute(setting: Setting, device: Device, level: int | None = None) -> dict[Storage, np.ndarray]:
    """The content of every storage that the node writes, after it ran."""
    return run(setting, device, planned(setting, device, level))


def planned(setting: Setting, device: Device, level: int | None = None) -> Plan:
    return make_plan(setting.graph) if level is None else lean_plan(setting.graph, level, device.supports)


def limited(case: Case, device: Device, plan: Plan) -> Case:
    """The case with the limits of the device's kernels for it, where they round what they read."""
    if not any(o.dtype.is_quantised and not o.cached for o in case.operands):
        return case
    by_bytes = any(("DOT", "") in getattr(code, "defines", ()) for code in device.kernels(plan))
    return case.in_bytes() if by_bytes else case


def run(setting: Setting, device: Device, plan: Plan) -> dict[Storage, np.ndarray]:
    """As execute(), of a plan."""
    device.alloc(setting.contents)
    try:
        for storage, data in setting.contents.items():
            device.write(storage, data)
        program = device.compile(plan)
        program.run()
        program.close()
        return {t.storage: device.read(t.storage) for t in setting.node.outputs}
    finally:
        device.free(setting.contents)


def compare(case: Case, setting: Setting, got: dict, wanted: dict) -> Outcome:
    worst = Outcome(case, "pass")
    for t in setting.node.outputs:
        outcome = _compare_output(case, t, got[t.storage], wanted[t.storage])
        if outcome.status == "fail":
            return outcome
        worst = max(worst, outcome, key=lambda o: o.nmse)
    return worst


def _compare_output(case: Case, t: Tensor, got: np.ndarray, wanted: np.ndarray) -> Outcome:
    if t.dtype.is_quantised:
        got, wanted = (dequantise(raw, t.dtype, t.storage.shape[-1]) for raw in (got, wanted))
    inside = np.zeros(got.size, bool)
    elements_of(inside, t.layout)[...] = True
    around = ~inside.reshape(got.shape)
    if not np.array_equal(got[around].view(np.uint8), wanted[around].view(np.uint8)):
        return Outcome(case, "fail", "wrote outside of the output")
    a, b = (_numbers(elements_of(x.reshape(-1), t.layout), t.dtype) for x in (got, wanted))
    if t.dtype is DType.I32:
        same = np.array_equal(a, b)
        return Outcome(case, "pass" if same else "fail", "" if same else f"{_first_difference(a, b)}")
    for name, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        if not np.array_equal(test(a), test(b)):
            return Outcome(case, "fail", f"{name} in other places: {test(a).sum()}, expected {test(b).sum()}")
    return _judge(case, a, b)


def _judge(case: Case, a: np.ndarray, b: np.ndarray) -> Outcome:
    finite = np.isfinite(b)
    a, b = (np.where(finite, x, 0).astype(np.float64) for x in (a, b))
    error = np.abs(a - b)
    nmse = float((error**2).sum() / max((b**2).sum(), 1e-60)) if error.any() else 0.0
    row = float((error.max(-1) / np.maximum(np.abs(b).max(-1), 1e-30)).max()) if error.any() else 0.0
    ok = nmse <= case.nmse and row <= case.row
    why = "" if ok else f"NMSE {nmse:.1e} of {case.nmse:.0e}, row error {row:.1e} of {case.row:.0e}"
    return Outcome(case, "pass" if ok else "fail", why, nmse, row)


def _numbers(x: np.ndarray, dtype: DType) -> np.ndarray:
    return from_bf16(x) if dtype is DType.BF16 else x


def _first_difference(a: np.ndarray, b: np.ndarray) -> str:
    at = tuple(int(i) for i in np.argwhere(a != b)[0])
    return f"{(a != b).sum()} of {a.size} differ, first at {at}: {a[at]}, expected {b[at]}"


def run_table(cases: Iterable[Case], device: Device) -> Iterable[Outcome]:
    for case in cases:
        yield run_case(case, device)
