"""Fixtures that tests of several folders share."""

import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from vkrun.backends import registry
from vkrun.backends.base import Device

# Mesa's software driver compiles each kernel for seconds to run it for microseconds: let it compile plainly.
os.environ.setdefault("GALLIVM_PERF", "nopt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all that takes minutes too: as continuous integration does")
    parser.addoption("--exhaustive", action="store_true", help="with --full: also what repeats it: before a release")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full(*params): only with --full; with params, where one of them is a parameter")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    long = [item for item in items if any(map(partial(_is_long, item), item.iter_markers("full")))]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def _is_long(item: pytest.Item, mark: pytest.Mark) -> bool:
    return not mark.args or any(param in mark.args for param in item.callspec.params.values())  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether everything is wanted, rather than a sample of what takes long."""
    return request.config.getoption("--full")


@pytest.fixture(scope="session")
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether that is wanted too which others leave little doubt of."""
    return request.config.getoption("--exhaustive")


OWN = ("vulkan", "kompute", "cpu", *([] if registry.get("cuda").why_missing() else ["cuda"]))


@pytest.fixture(params=OWN)
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the project's backends; one that this machine cannot run is skipped with what is missing."""
    if why := registry.get(request.param).why_missing():
        pytest.skip(why)
    return request.param


@pytest.fixture(scope="session")
def devices() -> Iterator[Callable[[str], Device]]:
    """The best device of a backend by its name, opened once: for tests that leave it as it was."""
    opened: dict[str, Device] = {}

    def get(name: str) -> Device:
        if name not in opened:
            backend, info = registry.choose(name, None)
            opened[name] = backend.open(info)
        return opened[name]

    yield get
    for device in opened.values():
        device.close()
