"""The op table on other devices than the one that is there: one that is no CPU, and the poorest of Vulkan 1.1.

Some of it: software drivers take a second to compile a large kernel, and these are compiled for the tests alone.
"""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import pytest
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import prepare, run_case
from vkrun.runtime.optable.table import CASES, cases_for
from vkrun.shaders.kernel import Features
from vkrun.shaders.recurrent import delta_chunks, kimi_chunks, state_chunks
from vkrun.tests.ops.kompute_cases import USUAL

Open = Callable[[Features], VulkanDevice]


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    """Devices with some features, each opened once."""
    made: dict[Features, VulkanDevice] = {}

    def get(features: Features) -> VulkanDevice:
        if features not in made:
            made[features] = BACKEND.open(BACKEND.devices()[0], features=features)
        return made[features]

    yield get
    for device in made.values():
        device.close()


def wrong(cases: Iterable[Case], device: VulkanDevice) -> list[str]:
    outcomes = [run_case(c, device) for c in cases]
    return [f"{o.case.op} {o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"]


@pytest.mark.full("experts_down", "glu_mul_mat", "mul_mat_add", "norm_mul_mats", "norm_mul_mats_conv", "route_gate_up")
@pytest.mark.parametrize("op", list(dict.fromkeys(c.op for c in CASES)))
def test_kernels_for_gpus(op: str, opened: Open, full: bool) -> None:
    """Plainly, but for products that others are a part of, one case of each op, and one of those that only such devices
    have."""
    own = Features(**BACKEND.devices()[0].features)  # type: ignore[arg-type]
    device = opened(Features(**{**vars(own), "software": False, "delta_chunks": False}))
    own_cases = cases_for(is_software=False)[len(CASES) :]
    usual, own_ones = ([c for c in some if c.op == op] for some in (CASES, own_cases))
    assert wrong(usual[::6] + own_ones if full else usual[:1] + own_ones[:1], device) == []


def test_no_features_at_all(opened: Open, full: bool, exhaustive: bool) -> None:
    """The kompute backend runs on such a device: some of its cases, with --exhaustive of all."""
    assert wrong(CASES[::9] if exhaustive else USUAL[:: 3 if full else 130], opened(Features())) == []


@pytest.mark.full
@pytest.mark.parametrize("what", ["70 tokens", "130 tokens", "128, rows apart, state rows apart, 65 tokens"])
def test_the_delta_net_in_chunks(what: str, opened: Open) -> None:
    """In chunks of 32 tokens, which software drivers take 20 s to compile; host devices run them in the op table."""
    cases = [c for c in CASES if c.op == "gated_delta_net" and what in c.what]
    small = Features(max_workgroup=64, delta_chunks=True)
    assert cases and all(not delta_chunks.rule(prepare(c).node, small) for c in cases)
    assert wrong(cases, opened(small)) == []


@pytest.mark.full("130 tokens", "kimi_delta")
@pytest.mark.parametrize("what", ["NaN in", "130 tokens"])
@pytest.mark.parametrize(("op", "module"), [("mamba2", state_chunks), ("kimi_delta", kimi_chunks)])
def test_scans_in_chunks(op: str, module: ModuleType, what: str, opened: Open) -> None:
    cases = [c for c in CASES if c.op == op and what in c.what]
    small = Features(delta_chunks=True, shared_nbytes=32768)
    assert cases and all(not module.rule(prepare(c).node, small) for c in cases)
    assert wrong(cases, opened(small)) == []
