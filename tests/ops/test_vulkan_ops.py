"""The op table on the poorest device that Vulkan 1.1 allows, and with what software devices are spared."""

from collections.abc import Iterator

import pytest
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.shaders.kernel import Features


@pytest.fixture(scope="module", params=["poorest", "not software"])
def device(request: pytest.FixtureRequest) -> Iterator[VulkanDevice]:
    info = BACKEND.devices()[0]
    own = Features(**info.features)  # type: ignore[arg-type]
    features = {"poorest": Features(), "not software": Features(**{**vars(own), "software": False})}
    opened = BACKEND.open(info, features=features[request.param])
    yield opened
    opened.close()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the numpy reference's own, at edge values
@pytest.mark.parametrize("op", list(dict.fromkeys(c.op for c in CASES)))
def test_op(device: VulkanDevice, op: str) -> None:
    outcomes = [run_case(c, device) for c in CASES if c.op == op]
    assert not [f"{o.case.what}: {o.why}" for o in outcomes if o.status != "pass"]
