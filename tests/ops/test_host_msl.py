"""The shaders as Metal has them, run on the host: right in both orders of threads, and what is wrong is caught."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from math import prod
from pathlib import Path

import numpy as np
import pytest
from vkrun.backends.base import Device
from vkrun.backends.host import BACKEND, METAL, msl, program
from vkrun.backends.host.device import HostDevice
from vkrun.backends.host.dispatch import Bound, Lanes, cells_of
from vkrun.backends.host.kernels import BARRIER, NEEDED, HostKernel
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Outcome, run_case
from vkrun.runtime.optable.table import CASES
from vkrun.shaders import metal
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.elementwise.kernels import KERNELS as ELEMENTWISE
from vkrun.shaders.kernel import Features, KernelCall, KernelCode
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model
from vkrun.tests.nodes import bare
from vkrun.tests.ops.spread import work
from vkrun.tests.untyped import untyped

pytestmark = pytest.mark.skipif(bool(msl.why_missing()), reason=msl.why_missing())

FEATURES = METAL[1]
FORWARDS, BACKWARDS = 6, 7  # of the host's devices
PARTS = 16


@cache
def device(index: int) -> Device:
    return BACKEND.open(BACKEND.devices()[index])


def outcome_on(case: Case, on: Device) -> Outcome:
    """Of the case as one node, or as a plan makes it where there are kernels for its parts only."""
    found = run_case(case, on)
    return run_case(case, on, 3) if found.status == "refused" else found


@cache
def stems() -> list[str]:
    """The shader that runs each case, "" where a plan makes several of it."""
    nodes = (bare(case).node for case in CASES)
    calls = (None if refusal(node, FEATURES) else lower(node, FEATURES) for node in nodes)
    return [call.stem if call else "" for call in calls]


@cache
def cases_of(stem: str) -> list[Case]:
    return [case for case, own in zip(CASES, stems(), strict=True) if own == stem]


def stems_of(op: str) -> set[str]:
    return {stem for case, stem in zip(CASES, stems(), strict=True) if case.op == op}


def sample() -> list[Case]:
    """The smallest case of each shader."""
    return [min(cases_of(stem), key=size) for stem in sorted(set(stems()))]


def size(case: Case) -> int:
    return sum(prod(o.shape) for o in case.operands)


def of_all_kinds() -> list[Case]:
    """The case that is least work of each shader's flags and constants whatever the types of weights, and of each of
    these types."""
    found: dict[object, list[Case]] = {}
    works = {id(case): work(case) for case in CASES}
    for case, stem in zip(CASES, stems(), strict=True):
        kinds: list[object] = [(case.op, case.what)]
        if stem:
            code = _lowered(case).code
            _, flags = untyped((stem, code.defines))
            kinds = [(stem, flags, code.constants), *(d for d in code.defines if d not in flags)]
        for kind in kinds:
            found.setdefault(kind, []).append(case)
    least = [min(those, key=lambda case: works[id(case)]) for those in found.values()]
    return list({id(case): case for case in least}.values())


@pytest.mark.parametrize("part", range(PARTS))
def test_cases(part: int, full: bool, exhaustive: bool) -> None:
    """One of each shader, with --full of all kinds, with --exhaustive all; each second one backwards."""
    cases = CASES if exhaustive else of_all_kinds() if full else sample()
    numbered = list(enumerate(cases))[part::PARTS]
    outcomes = [outcome_on(c, device(BACKWARDS if i // PARTS % 2 else FORWARDS)) for i, c in numbered]
    assert len(outcomes) > 2
    assert [f"{o.case.op} {o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"] == []


def test_a_model_runs(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    ids = [5, 11, 11, 60, 0, 7, 23]
    with load_exact(path, backend="cpu", n_ctx=64, opt=0) as oracle:
        wanted = oracle.logits(ids)
    with load_exact(path, backend="host", device=BACKWARDS, n_ctx=64) as model:
        assert nmse(model.logits(ids), wanted) < 1e-10


# matrices of Metal's own, and their twins


@pytest.mark.full("mul_mat_id")
@pytest.mark.parametrize(
    ("op", "what", "stems"),
    [
        ("mul_mat", "Q4_0: 150 columns of 1024", ("mul_mat_matrix", "mul_mat_tile")),
        ("mul_mat_id", "Q8_0: all ids alike, a prompt", ("mul_mat_id_matrix", "mul_mat_id_tile")),
        ("attention", "1 x 70 tokens, 8 heads on 2 of 64", ("attention_matrix", "attention")),
    ],
)
def test_kernels_of_simdgroup_matrices_have_twins_without(op: str, what: str, stems: tuple[str, str]) -> None:
    case = next(c for c in CASES if c.op == op and what in c.what and stems[0] in planned(c, FEATURES))
    for features, stem in zip((FEATURES, replace(FEATURES, cooperative_matrix=())), stems, strict=True):
        assert stem in planned(case, features)
        outcome = run_case(case, BACKEND.open(BACKEND.devices()[FORWARDS], features), 3)
        assert outcome.status == "pass", outcome.why


def planned(case: Case, features: Features) -> set[str]:
    """The shaders of a case as a plan makes it."""
    nodes = lean_plan(bare(case).graph, 3, lambda node: refusal(node, features)).nodes
    return {call.stem for node in nodes if (call := lower(node, features))}


# families of one kernel


def test_all_elementwise_ops_are_one_kernel_for_one_operand_and_one_for_two() -> None:
    ops = {kernel.op for kernel in ELEMENTWISE}
    of_op = {op: stems_of(op) - {""} for op in ops}
    assert len(ops) > 15
    assert set().union(*of_op.values()) == {"unary", "binary", "select"}
    assert all(len(stems) == 1 for stems in of_op.values())


@pytest.mark.parametrize("op", ["l2_norm", "rms_norm", "layer_norm"])
def test_norms_take_rows_apart(op: str) -> None:
    """All layouts by the kernel of all norms, with no copy before."""
    cases = [c for c in CASES if c.op == op]
    apart = [c for c in cases if not bare(c).node.inputs[0].layout.is_contiguous]
    assert stems_of(op) == {"norm"} and len(apart) > len(cases) / 3
    outcomes = [outcome_on(c, device(FORWARDS)) for c in apart[:: len(apart) // 3]]
    assert all(o.status == "pass" for o in outcomes)


# mutants


def mutated(change: Callable[[str], str]) -> Callable[[KernelCode], HostKernel]:
    return lambda code: msl.compiled(f"mutant-{code.stem}", change(metal.text_of(code))).kernel


def outcome_of(case: Case, kernel: Callable[[KernelCode], HostKernel]) -> Outcome:
    return run_case(case, HostDevice(BACKEND.devices()[FORWARDS], program.Way(FEATURES, False, kernel)))


def without_barrier(number: int) -> Callable[[str], str]:
    def change(text: str) -> str:
        head, main = text[: (at := text.index("struct vk_Kernel"))], text[at:]
        numbers = count()
        return head + BARRIER.sub(lambda m: "" if next(numbers) == number else m[0], main)

    return change


WITH_BARRIERS = ("norm", "softmax", "mul_mat_tile", "mul_mat_matrix", "attention", "top_k", "delta_net", "cumsum")


@pytest.mark.full("mul_mat_matrix", "softmax", "top_k", "delta_net", "cumsum")
@pytest.mark.parametrize("stem", WITH_BARRIERS)
def test_a_deleted_barrier_is_caught(stem: str) -> None:
    """As many mutants fail as barriers are judged to be needed by the same case."""
    case, n_needed = next((c, n) for c in cases_of(stem) if (n := n_barriers_needed(c)))
    n_barriers = len(BARRIER.findall(text_of(case).partition("struct vk_Kernel")[2]))
    mutants = [outcome_of(case, mutated(without_barrier(n))) for n in range(n_barriers)]
    assert sum(m.status != "pass" for m in mutants) == n_needed


def text_of(case: Case) -> str:
    call = lower(bare(case).node, FEATURES)
    assert call is not None
    return metal.text_of(call.code)


def n_barriers_needed(case: Case) -> int:
    """Those that the case shows to be."""
    made: list[HostKernel] = []

    def kernel(code: KernelCode) -> HostKernel:
        made.append(msl.compiled(f"msl-{code.stem}", metal.text_of(code)).kernel)
        return made[-1]

    assert outcome_of(case, kernel).status == "pass"
    return int((made[0].barriers & NEEDED > 0).sum())


WIDTHS = 8, 16, 64
BY_32 = "attention_matrix", "experts_down_wide", "mul_mat_matrix"
SUBGROUPS = "SUBGROUPS", ""
BY_ANY = "attention", "delta_net", "mul_mats", "norm", "route", "softmax"


@cache
def typical(stem: str) -> Case:
    """One of the middle; of a stem that goes by any width one whose kernel does; of one type of weights where there are
    such, since rows of two are as short as the shorter type's, and leave most lanes of a simdgroup with nothing."""
    own = [c for c in cases_of(stem) if stem not in BY_ANY or SUBGROUPS in _lowered(c).defines]
    own = [c for c in own if not any(name.startswith("SECOND_") for name, _ in _lowered(c).defines)] or own
    return own[len(own) // 2]


def _lowered(case: Case) -> KernelCall:
    call = lower(bare(case).node, FEATURES)
    assert call is not None
    return call


@pytest.fixture
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Simdgroups of so many threads, whatever kernels were made for."""
    monkeypatch.setattr(program, "Lanes", lambda _subgroup, backwards: Lanes(request.param, backwards))
    return request.param


@pytest.mark.full(8, 64)
@pytest.mark.parametrize("width", WIDTHS, indirect=True)
@pytest.mark.parametrize(("stem", "fits"), [*((s, True) for s in BY_ANY), *((s, False) for s in BY_32)])
def test_another_width_of_simdgroups_is_right_or_caught(stem: str, fits: bool, width: int) -> None:
    assert width != FEATURES.subgroup_size
    assert (outcome_of(typical(stem), msl.kernel).status == "pass") == fits


@pytest.mark.full("gl_SubgroupSize = 64u", "gl_SubgroupInvocationID = vk_thread % 64u;")
@pytest.mark.parametrize(
    ("was", "becomes", "stems"),
    [
        ("gl_SubgroupSize = vk_lanes", "gl_SubgroupSize = 16u", BY_32),
        ("gl_SubgroupSize = vk_lanes", "gl_SubgroupSize = 64u", BY_32),
        ("gl_SubgroupID = vk_simdgroup;", "gl_SubgroupID = vk_thread / 16u;", (*BY_32, "attention", "delta_net")),
        ("gl_SubgroupID = vk_simdgroup;", "gl_SubgroupID = vk_thread / 64u;", (*BY_32, "attention", "delta_net")),
        ("gl_SubgroupInvocationID = vk_lane;", "gl_SubgroupInvocationID = vk_lane % 16u;", (*BY_32, "mul_mats")),
        ("gl_SubgroupInvocationID = vk_lane;", "gl_SubgroupInvocationID = vk_thread % 64u;", BY_32),
        ("gl_NumSubgroups = vk_simdgroups", "gl_NumSubgroups = 2u * vk_simdgroups", BY_ANY),
    ],
)
def test_a_wrong_width_in_the_text_is_caught(was: str, becomes: str, stems: tuple[str, ...]) -> None:
    for stem in stems:
        assert was in text_of(typical(stem))
        assert outcome_of(typical(stem), mutated(lambda text: text.replace(was, becomes))).status != "pass", stem


# Metal by hand

HEAD = """#include <metal_stdlib>
using namespace metal;
[[max_total_threads_per_threadgroup(64)]] kernel void small(
    device const uint *x [[buffer(0)]], device uint *y [[buffer(1)]], device float4 *z [[buffer(2)]],
    constant uint &n [[buffer(3)]], uint i [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
threadgroup uint held[64];
threadgroup half halves[64];
threadgroup float sums[64];
"""


def run(statements: str, lanes: Lanes = msl.FORWARDS, threads: int = 64) -> tuple[str, np.ndarray]:
    """What went wrong, if anything, and y [64], which starts as ones; x counts from 0, n is 64; z [64, 4] of zeros."""
    x, y, z = np.arange(64, dtype=np.uint32), np.ones(64, np.uint32), np.zeros((64, 4), np.float32)
    bound = Bound(x), Bound(y, cells_of(y)), Bound(z, cells_of(z))
    library = msl.compiled("small", f"{HEAD}{statements}\n}}\n")
    with program.LOCK:
        return library.run("small", bound, np.uint32(64).tobytes(), (1, 1, 1), threads, lanes), y


@pytest.mark.parametrize("backwards", [False, True])
def test_what_threads_do_together(backwards: bool) -> None:
    why, y = run(
        """held[i] = x[i];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        bool right = simd_sum(lane) == 496u && simd_max(lane) == 31u && simd_min(lane + 3u) == 3u;
        right = right && simd_shuffle(lane, ushort(5)) == 5u && simd_shuffle_xor(lane, ushort(3)) == (lane ^ 3u);
        right = right && ulong(simd_ballot((lane & 1u) != 0u)) == 0xaaaaaaaaul && simd_is_first() == (lane == 0u);
        y[i] = right ? held[n - 1u - i] : 12345u;""",
        Lanes(32, backwards),
    )
    assert why == "" and y.tolist() == list(range(63, -1, -1))


PRODUCT = """halves[i] = half(x[i] % 7u);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_matrix<half, 8, 8> a, b;
    simdgroup_matrix<float, 8, 8> c = make_filled_simdgroup_matrix<float, 8, 8>(0.5f);
    simdgroup_load(a, halves);
    simdgroup_load(b, halves, 8, ulong2(0), true);
    simdgroup_multiply_accumulate(c, a, b, c);
    c.thread_elements() *= 2.0f;
    if (i < 32u) simdgroup_store(c, sums);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[i] = uint(sums[i]);"""


def test_matrices_are_what_they_are_by_definition() -> None:
    why, y = run(PRODUCT)
    a = (np.arange(64) % 7).reshape(8, 8)
    assert why == "" and (y.reshape(8, 8) == 2 * (a @ a.T) + 1).all()


@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        ("y[i] = x[i + 1u];", "memory that is no buffer's"),
        ("y[i / 2u] = 0u;", "touched by two invocations of one dispatch"),
        ("held[i + 1u] = 0u;", "an array's index is out of bounds"),
        ("threadgroup uint *p = held; p[i + n - 8u] = 0u;", "no array's"),
        ("y[i] = held[i];", "held[0] read before anyone wrote it"),
        ("held[i] = i; y[i] = held[i ^ 1u];", "held["),
        ("held[i] = i; threadgroup_barrier(mem_flags::mem_none); y[i] = held[i ^ 1u];", "orders no threadgroup memory"),
        ("held[i] = i; simdgroup_barrier(mem_flags::mem_threadgroup); y[i] = held[i ^ 32u];", "held["),
        ("if (i < 9u) threadgroup_barrier(mem_flags::mem_threadgroup);", "some invocations do not reach"),
        ("if (lane < 3u) y[i] = simd_shuffle(i, ushort(5));", "a shuffle from a lane that takes no part"),
        ("z[i / 4u] += 1.0f;", "touched by two invocations"),
        ("float4 v = 0.0f; z[i][0] = v[i];", "an array's index is out of bounds"),
        ("y[i] = i << (i + 1u);", "a shift by too much"),
        ("y[i] = i / (i & 1u);", "a division by zero"),
        (PRODUCT.replace("threadgroup_barrier(mem_flags::mem_threadgroup);", "", 1), "halves["),
        (PRODUCT.replace("if (i < 32u) ", ""), "sums["),
        (PRODUCT.replace("    simdgroup_mult", "if (lane > 15u) return; simdgroup_mult"), "by another than 32 threads"),
    ],
)
def test_what_metal_leaves_undefined_is_an_error(statements: str, wanted: str) -> None:
    why, _ = run(statements)
    assert wanted in why and "workgroup 0 0 0, invocation" in why


def test_what_does_not_fit_is_refused() -> None:
    assert "too many lanes" in run("y[i] = 1u;", threads=65)[0]
    assert run("y[i] = 1u;", threads=32) == ("", pytest.approx([1] * 64))
    with pytest.raises(BackendError, match="no function other, the library has small"):
        msl.compiled("small", HEAD + "}").run("other", (), b"", (1, 1, 1), 64)
    with pytest.raises(BackendError, match="64 threads and 32896 bytes of threadgroup memory, at most 1024 and 32768"):
        msl.compiled("small", HEAD.replace("held[64]", "held[8128]") + "held[i] = sums[i] = halves[i] = 0u; }")
