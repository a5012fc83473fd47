"""The op table with each feature off that has a switch, over the kernels that take the place of those that want it."""

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache

import pytest
from vkrun.backends.base import Device
from vkrun.backends.host import BACKEND as HOST
from vkrun.backends.host import LANES
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Outcome, run_case
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import Features, KernelCode
from vkrun.tests.nodes import bare

SWITCHED = ("subgroup_size", "float16", "int_dot", "cooperative_matrix", "warpgroup_nbytes", "delta_chunks")
WANTED_BY_NONE = ("float16", "cooperative_matrix", "warpgroup_nbytes")  # of llvmpipe's, which has no matrices
SAMPLE, MOST = 2, 8  # kernels, plainly and with --full: software drivers take a second to compile each

Kernels = dict[KernelCode | None, Case]


@cache
def table() -> list[tuple[Case, Node]]:
    return [(case, bare(case).node) for case in cases_for(is_software=False)]


def chosen(node: Node, features: Features) -> KernelCode | None:
    """None where the op runs in parts, or there is nothing to do."""
    call = None if refusal(node, features) else lower(node, features)
    return call and call.code


def in_place(features: Features, off: Features) -> Kernels:
    """The kernels that a device without the feature runs where one with it runs others, and a case of each."""
    found: Kernels = {}
    for case, node in table():
        code = chosen(node, off)
        if code not in found and code != chosen(node, features):
            found[code] = case
    return found


def without(features: Features, name: str) -> Features:
    return replace(features, **{name: getattr(Features(), name)})


def wrong(kernels: Kernels, device: Device, full: bool) -> list[str]:
    cases = list(kernels.values())
    outcomes = [outcome(case, device) for case in cases[:: max(1, len(cases) // (MOST if full else SAMPLE))]]
    return [f"{o.case.op} {o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"]


def outcome(case: Case, device: Device) -> Outcome:
    """As one node, or as a plan makes it where the device has kernels for its parts only."""
    found = run_case(case, device)
    return run_case(case, device, 3) if found.status == "refused" else found


@pytest.fixture(scope="module")
def gpu() -> Features:
    """What llvmpipe would offer were it no CPU."""
    return Features(**{**BACKEND.devices()[0].features, "software": False})  # type: ignore[arg-type]


@pytest.fixture
def without_it(gpu: Features, request: pytest.FixtureRequest) -> Iterator[Device]:
    device = BACKEND.open(BACKEND.devices()[0], features=without(gpu, request.param))
    yield device
    device.close()


@pytest.mark.parametrize(
    ("name", "without_it"),
    [(n, n) for n in SWITCHED if n not in WANTED_BY_NONE],
    indirect=["without_it"],
)
def test_on_vulkan(name: str, without_it: Device, gpu: Features, full: bool) -> None:
    kernels = in_place(gpu, without(gpu, name))
    assert kernels
    assert wrong(kernels, without_it, full) == []


@pytest.mark.skipif(bool(HOST.why_missing()), reason=HOST.why_missing())
@pytest.mark.full("subgroup_size", "int_dot", "delta_chunks")  # which llvmpipe has
@pytest.mark.parametrize("name", SWITCHED)
def test_on_the_host(name: str, full: bool) -> None:
    """Where every feature is, cooperative matrices too."""
    rich = LANES[0][1]
    kernels = in_place(rich, without(rich, name))
    assert kernels
    assert wrong(kernels, HOST.open(HOST.devices()[0], features=without(rich, name)), full) == []


def test_every_feature_of_a_device_has_its_switch() -> None:
    others = {"shared_nbytes", "max_workgroup", "software", "nvrtc", "tuning"}  # limits, and what is chosen by them
    assert {f.name for f in fields(Features)} - others == set(SWITCHED)
