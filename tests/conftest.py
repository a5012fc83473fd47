"""Fixtures that tests of several folders share."""

import pytest
from vkrun.backends import registry

OWN = ("vulkan", "kompute", "cpu")


@pytest.fixture(params=OWN)
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the project's backends; one that this machine cannot run is skipped with what is missing."""
    if why := registry.get(request.param).why_missing():
        pytest.skip(why)
    return request.param
