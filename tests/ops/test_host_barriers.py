"""Each barrier of the shaders is needed: some case shows two invocations that would meet in shared memory without it,
or it is said here why it stays. The host backend judges all barriers of a kernel in one run: backends/host/lanes.cpp.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, count
from random import Random

import numpy as np
import pytest
from vkrun.backends.host import BACKEND, LANES, kernels
from vkrun.backends.host.device import HostDevice
from vkrun.backends.host.dispatch import Bound, Dispatch, Lanes, cells_of
from vkrun.backends.host.kernels import BARRIER, MET, NEEDED
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders.catalogue import lower, refusal, variants
from vkrun.shaders.compile import Defines
from vkrun.shaders.kernel import Features, KernelCall
from vkrun.shaders.matmul import matrix_tiles
from vkrun.shaders.texts import text
from vkrun.shaders.translate import OutsideSubsetError, translated
from vkrun.tests.nodes import bare
from vkrun.tests.untyped import untyped

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

N_TRIED = 64  # cases that may show nothing new of a class before it counts as judged
SPREAD, PARTS = 23, 2
LARGEST = 1 << 23  # elements of a case's operands

# a GPU's kernels plain, with matrices and integers, with no warpgroups, with one subgroup a workgroup, with several,
# without; a small one's; a CPU's
MATRICES, CPU = LANES[0][1], LANES[1][1]
GPU = replace(MATRICES, cooperative_matrix=(), int_dot=False)
WAYS: tuple[Features, ...] = (
    GPU,
    MATRICES,
    replace(MATRICES, warpgroup_nbytes=0),
    replace(GPU, subgroup_size=64),
    replace(GPU, subgroup_size=8),
    replace(GPU, subgroup_size=0),
    Features(subgroup_size=8),
    CPU,
)

IN_STEPS = {"gated_delta_net": ("delta_parts", "delta_scan")}  # which a pass alone makes of it

BY_TEAMS = (
    "open_sums",
    "close_sums",
    "multiply",
    "team_barrier",
)  # functions of matrix_tile.glsl, the first barrier of each

# (shader or its class with a flag, function, which of its barriers): why no case can need it
KEPT: Mapping[tuple[str, str, int], str] = {
    ("experts_down_wide DOT", "gather_sums", 0): "of several tokens a subgroup takes rows alone",
    ("mul_mat_matrix CONV", "close_sums", 1): "of one team a subgroup has one matrix of sums",
    ("mul_mat_matrix", "add_together", 0): "of two stages",
    **{
        (stem, function, 0): "experts' tiles are one team's"
        for stem in ("mul_mat_id_matrix", "mul_mat_id_swiglu")
        for function in BY_TEAMS
    },
}


@dataclass(frozen=True)
class Class:
    """Variants of a shader that differ in types of weights alone."""

    stem: str
    defines: Defines

    @classmethod
    def of(cls, stem: str, defines: Defines) -> "Class":
        return cls(*untyped((stem, defines)))

    @property
    def names(self) -> tuple[str, ...]:
        """That of all the shader's variants, and those of all with one of its flags."""
        return (self.stem, *(f"{self.stem} {flag}" for flag, _ in self.defines))

    def is_kept(self, barrier: tuple[str, int]) -> bool:
        return any((name, *barrier) in KEPT for name in self.names)


@dataclass(frozen=True)
class Use:
    """A kernel that a case comes to at a level (see run_case), on the device of WAYS by index."""

    case: Case
    level: int | None
    way: int
    call: KernelCall


def functions_of(text: str) -> Iterator[tuple[str, str]]:
    """Name and all that follows up to the next one, of the functions of a kernel in their order."""
    for method in re.split(r"^VK_FN ", text, flags=re.MULTILINE)[1:]:
        yield method[: method.index("(")].split()[-1], method


def barriers_of(text: str) -> list[tuple[str, int]]:
    """Function and number therein, in the order of the text; overloads count on."""
    found: list[tuple[str, int]] = []
    for name, method in functions_of(text):
        taken = sum(f == name for f, _ in found)
        found += [(name, taken + n) for n in range(len(BARRIER.findall(method)))]
    return found


def called(text: str) -> set[str]:
    """The functions that a kernel comes to."""
    calls: dict[str, set[str]] = {}
    for name, method in functions_of(text):
        calls.setdefault(name, set()).update(re.findall(r"\w+(?=\()", method[method.index("{") :]))
    found, new = set[str](), {"main_"}
    while new:
        found |= new
        new = {c for name in new for c in calls[name] if c in calls} - found
    return found


@contextmanager
def one_tile_enough() -> Iterator[None]:
    """Warpgroups, which want many tiles, multiply what small cases have too."""
    wanted, matrix_tiles.WANTED_WARPGROUPS = matrix_tiles.WANTED_WARPGROUPS, 1
    try:
        yield
    finally:
        matrix_tiles.WANTED_WARPGROUPS = wanted


@cache
def uses() -> dict[Class, list[Use]]:
    """By class the cases whose kernels are of it."""
    found: dict[Class, list[Use]] = {}
    with one_tile_enough():
        for use in chain.from_iterable(map(uses_of, cases_for(False))):
            found.setdefault(Class.of(use.call.stem, use.call.defines), []).append(use)
    return found


def uses_of(case: Case) -> Iterator[Use]:
    setting = bare(case)
    if sum(t.layout.n_elements for t in (*setting.node.inputs, *setting.node.outputs)) > LARGEST:
        return
    for way, features in enumerate(WAYS):
        if not refusal(setting.node, features) and (call := lower(setting.node, features)):
            yield Use(case, None, way, call)
        if case.op in IN_STEPS:
            nodes = lean_plan(setting.graph, 3, device(way).supports).nodes
            steps = (node for node in nodes if node.op in IN_STEPS[case.op])
            yield from (Use(case, 3, way, call) for node in steps if (call := lower(node, features)))


@cache
def device(way: int) -> HostDevice:
    return BACKEND.open(BACKEND.devices()[0], WAYS[way])


@cache
def barriers_in(stem: str, defines: Defines) -> tuple[list[tuple[str, int]], set[tuple[str, int]]]:
    """All of a variant in the order of its text, and those that its kernels can come to."""
    made = text(stem, defines)
    every = barriers_of(made)
    return every, {b for b in every if b[0] in called(made)}


def barriers_met(which: Class) -> set[tuple[str, int]]:
    """Those that some kernel of a class can come to: a few types of weights have one more, before their table."""
    seen = {(use.call.stem, use.call.defines) for use in uses()[which]}
    return set().union(*(barriers_in(*variant)[1] for variant in seen))


def sampled(uses: Sequence[Use]) -> list[Use]:
    """N_TRIED of them, in any order; of each choice of constants one first, since few may need a barrier."""
    mixed = Random(0).sample(uses, len(uses))
    firsts = {str(sorted(use.call.constants.items())): i for i, use in reversed(list(enumerate(mixed)))}.values()
    return [mixed[i] for i in sorted(range(len(mixed)), key=lambda i: (i not in firsts, i))][:N_TRIED]


def needless(which: Class) -> set[tuple[str, int]]:
    """The barriers of a class that no case needs, and that are not kept."""
    those = uses()[which]
    left = {b for b in barriers_met(which) if not which.is_kept(b)}
    for use in sampled(those):
        every, own = barriers_in(use.call.stem, use.call.defines)
        if not left & own:
            continue
        with one_tile_enough():
            outcome = run_case(use.case, device(use.way), use.level)
        assert outcome.status == "pass", f"{use.case.op} {use.case.what}: {outcome.why}"
        left -= {b for b, mark in zip(every, kernels.kernel(use.call.code).barriers, strict=True) if mark & NEEDED}
    return left


@pytest.mark.full(1)
@pytest.mark.parametrize("part", range(PARTS))
def test_each_barrier_is_needed(part: int, full: bool) -> None:
    """With --full in every class of variants."""
    chosen = list(uses())[:: 1 if full else SPREAD][part::PARTS]
    assert {c: left for c in chosen if (left := needless(c))} == {}
    assert sum(len(barriers_met(c)) for c in chosen) > (60 if full else 10)


@pytest.mark.full
def test_every_class_that_has_barriers_has_cases() -> None:
    unused = {kind: variant for variant in variants() if (kind := Class.of(*variant)) not in uses()}
    missed = []
    for kind, variant in unused.items():
        with suppress(OutsideSubsetError):  # a kernel of an API's own units
            missed += [kind] * bool(barriers_in(*variant)[1])
    assert missed == []


def test_what_is_kept_is_there() -> None:
    names = {name for name, *_ in KEPT}
    assert set(KEPT) <= {(n, *b) for c in uses() for n in names & {*c.names} for b in barriers_met(c)}


HEAD = """#version 450
layout(local_size_x = 64) in;
layout(std430, binding = 0) buffer Y { uint y[]; };
shared uint held[64], one;
uint i = 0u;
void main() {
i = gl_LocalInvocationID.x;
"""


def judged(statements: str, dropped: int = -1) -> tuple[str, str]:
    """What went wrong, and a letter a barrier: needed, met, or unmet."""
    made = translated(f"{HEAD}{statements}\n}}\n", "some.comp")
    numbers = count()
    made = BARRIER.sub(lambda m: "" if next(numbers) == dropped else m[0], made)
    kernel, y = kernels.compiled("some", made, {}), np.zeros(64, np.uint32)
    why = Dispatch(kernel, (Bound(y, cells_of(y)),), b"", (1, 1, 1), Lanes(8, False)).run()
    return why, "".join("n" if b & NEEDED else "m" if b & MET else "u" for b in kernel.barriers)


@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        ("held[i] = i; barrier(); y[i] = held[63u - i]; barrier(); held[i] = 1u;", "nn"),
        ("held[i] = i; barrier(); y[i] = held[i]; barrier(); held[i] = 1u;", "mm"),
        ("held[i] = i; barrier(); barrier(); y[i] = held[i ^ 1u];", "mm"),
        ("for (uint n = 0u; n < 3u; n++) { if (i == n) { one = n; } barrier(); }", "n"),
        ("for (uint n = 0u; n < 3u; n++) { if (i == n) { one = n; } barrier(); barrier(); }", "mm"),
        ("held[i] = i; for (uint n = 0u; n < 2u; n++) { barrier(); if (n == 1u) { y[i] = held[i ^ 9u]; } }", "n"),
        ("if (i == 0u) { one = 0u; } barrier(); atomicAdd(one, 1u); barrier(); y[i] = one;", "nn"),
        ("if (i == 0u) { one = 0u; } barrier(); atomicAdd(one, 1u); barrier(); atomicAdd(one, 1u);", "nm"),
        ("y[i] = i; if (i > 99u) { barrier(); } held[i] = i; barrier(); y[i] = held[i ^ 8u];", "un"),
        ("held[i] = i; subgroupBarrier(); y[i] = held[i ^ 1u]; barrier(); held[i ^ 8u] = 1u;", "nn"),
        ("held[i] = i; subgroupBarrier(); y[i] = held[i ^ 1u]; barrier(); held[i ^ 1u] = 1u;", "nm"),
        ("held[i] = i; subgroupBarrier(); barrier(); y[i] = held[i ^ 8u];", "mn"),
        ("held[i] = i; subgroupAdd(i); barrier(); y[i] = held[i ^ 1u];", "n"),
        ("held[i] = i; barrier(); y[i] = held[5]; barrier(); if (i == 63u) { y[i] = held[5]; held[5] = 1u; }", "nn"),
    ],
)
def test_barriers_are_judged_as_dropping_them_shows(statements: str, wanted: str) -> None:
    assert judged(statements) == ("", wanted)
    for n, letter in enumerate(wanted):
        assert bool(judged(statements, n)[0]) == (letter == "n")


def test_barriers_are_told_apart() -> None:
    made = (
        "VK_FN float f(float v) {barrier();x;barrier();}\nVK_FN uint f(uint v) {subgroupBarrier();}\nVK_FN void g() {}"
    )
    assert barriers_of(made) == [("f", 0), ("f", 1), ("f", 2)]
    assert called("VK_FN void a() {}\nVK_FN void b() {a();}\nVK_FN void main_() {b();}\nVK_FN void c() {}") == {
        *("a", "b", "main_"),
    }
