"""Barriers taken out of the shaders one by one: the host backend misses each that is reached, or it is said here why it
cannot matter."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pytest
from vkrun.backends.host import BACKEND, ROOM, kernels
from vkrun.backends.host.device import HostDevice
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import prepare, run_case
from vkrun.runtime.optable.table import CASES
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.compile import Defines
from vkrun.shaders.kernel import Features
from vkrun.shaders.translate import OutsideSubsetError, translate

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

BARRIER = "barrier();"
N_TRIED = 64  # cases that a mutant may survive before it counts as not missed
SPREAD, PARTS = 24, 3
LARGEST = 1 << 18  # elements of a case's operands

# a GPU's kernels with one subgroup a workgroup, with several, and without subgroups
WAYS: tuple[tuple[Features, bool], ...] = tuple(
    (Features(**{**vars(ROOM), "subgroup_size": lanes, "delta_chunks": chunks}), backwards)
    for lanes, chunks in ((64, True), (8, False), (0, True))
    for backwards in (False, True)
)

# (shader, function, which of its barriers): why it cannot matter
FIRST = "nothing of a reduction before is still read: there is none"
APART = "the one at the end of take_keys stands before"
TWICE = "the first one of the next reduction follows, but where a workgroup is one subgroup"
HARMLESS: Mapping[tuple[str, str, int], str] = {
    ("qk_rope_cache", "group_sum", 0): FIRST,
    ("norm", "group_sum", 0): FIRST,
    ("sum_rows", "group_sum", 0): FIRST,
    ("add_rms_norm", "group_sum", 0): FIRST,
    ("softmax", "group_max", 0): FIRST,
    ("attention", "group_max", 0): APART,
    ("attention", "take_keys", 1): TWICE,
}


@dataclass(frozen=True)
class Barrier:
    """One in a shader: the n-th of a function, whose code depends on whether the variant has subgroups."""

    stem: str
    function: str
    n: int
    subgroups: bool


Use = tuple[Case, int]  # on the device of WAYS by index


def barriers_of(text: str) -> list[tuple[str, int]]:
    """Function and number therein, in the order of the text."""
    found = []
    for method in re.split(r"^VK_FN ", text, flags=re.MULTILINE)[1:]:
        name = method[: method.index("(")].split()[-1]
        taken = sum(f == name for f, _ in found)  # overloads count on
        found += [(name, taken + n) for n in range(method.count(BARRIER))]
    return found


def without(text: str, n: int, instead: str) -> str:
    parts = text.split(BARRIER)
    return BARRIER.join(parts[: n + 1]) + instead + BARRIER.join(parts[n + 1 :])


@cache
def text_of(stem: str, defines: Defines) -> str:
    try:
        return translate(stem, defines)
    except OutsideSubsetError:
        return ""


_SEEN: dict[tuple[str, Defines], list[tuple[str, int]]] = {}


def barriers_in(stem: str, defines: Defines) -> list[tuple[str, int]]:
    """Of a variant; the types of weights change none of them, so that one variant stands for all of its types."""
    kind = stem, tuple(d for d in defines if not d[0].startswith(("TYPE_", "SECOND_")))
    if kind not in _SEEN:
        _SEEN[kind] = barriers_of(text_of(stem, defines))
    return _SEEN[kind]


@cache
def uses() -> dict[Barrier, list[Use]]:
    """For each barrier the cases whose kernels have it."""
    found: dict[Barrier, list[Use]] = {}
    for case in CASES:
        for way, stem, defines in kernels_of(case):
            subgroups = "SUBGROUPS" in dict(defines)
            for function, n in barriers_in(stem, defines):
                found.setdefault(Barrier(stem, function, n, subgroups), []).append((case, way))
    return found


def kernels_of(case: Case) -> Iterator[tuple[int, str, Defines]]:
    node = prepare(case).node
    if sum(t.layout.n_elements for t in (*node.inputs, *node.outputs)) > LARGEST:
        return
    for way, (features, _) in enumerate(WAYS):
        if not refusal(node, features) and (call := lower(node, features)):
            yield way, call.stem, call.defines


@cache
def device(way: int) -> HostDevice:
    return HostDevice(BACKEND.devices()[0], *WAYS[way])


class Mutants:
    """Runs cases with one barrier replaced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def noticed(self, barrier: Barrier, instead: str) -> bool:
        """Whether some case of the barrier fails."""
        self._patch.setattr(kernels, "translate", lambda stem, defines: self._text(barrier, instead, stem, defines))
        those = uses()[barrier]
        tried = [those[i * len(those) // N_TRIED] for i in range(min(N_TRIED, len(those)))]
        try:
            kernels._kernel.cache_clear()
            return any(run_case(case, device(way)).status == "fail" for case, way in tried)
        finally:
            self._patch.undo()
            kernels._kernel.cache_clear()

    def _text(self, barrier: Barrier, instead: str, stem: str, defines: Defines) -> str:
        text = text_of(stem, defines)
        at = (barrier.function, barrier.n)
        if stem != barrier.stem or ("SUBGROUPS" in dict(defines)) != barrier.subgroups or at not in barriers_of(text):
            return text
        return without(text, barriers_of(text).index(at), instead)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_barrier_less_is_noticed(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the barriers. One that no case reaches, since the kernel does not call the function or has but one
    subgroup, is none."""
    mutants = Mutants(monkeypatch)
    chosen = list(uses())[::SPREAD]
    survivors = [b for b in chosen[part::PARTS] if not mutants.noticed(b, ";")]
    reached = [b for b in survivors if mutants.noticed(b, 'vkrun_fail(VK_HERE, "reached");')]
    assert [b for b in reached if (b.stem, b.function, b.n) not in HARMLESS] == []


def test_barriers_are_told_apart() -> None:
    text = f"VK_FN float f(float v) {{{BARRIER}x;{BARRIER}}}\nVK_FN uint f(uint v) {{{BARRIER}}}\nVK_FN void g() {{}}"
    assert barriers_of(text) == [("f", 0), ("f", 1), ("f", 2)]
    assert (
        without(text, 1, "!")
        == f"VK_FN float f(float v) {{{BARRIER}x;!}}\nVK_FN uint f(uint v) {{{BARRIER}}}\nVK_FN void g() {{}}"
    )
    assert len(uses()) > 60 and {b.subgroups for b in uses()} == {False, True}
