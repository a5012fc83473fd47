"""The cuda backend on a stand-in driver, for the tests of this folder."""

from collections.abc import Iterator

import pytest
from vkrun.backends import registry
from vkrun.backends.cuda import BACKEND, api, nvrtc
from vkrun.backends.cuda.device import CudaDevice
from vkrun.backends.cuda.kernels import Kernels
from vkrun.tests.cuda_stand_in import StandIn


@pytest.fixture
def put_in(monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in where the driver is; what is remembered of drivers is forgotten before and after."""

    def forget() -> None:
        for cached in (api.start, nvrtc.version, registry.get):
            cached.cache_clear()

    def put(driver: StandIn, nvrtc_version: tuple[int, int] = (13, 0)) -> StandIn:
        compiler = {"nvrtcVersion": nvrtc_version, "nvrtcGetSupportedArchs": [75, 80, 90, 120]}
        monkeypatch.setattr(api, "driver", lambda: driver)
        monkeypatch.setattr(api, "compiler", lambda name, *_: compiler[name])
        monkeypatch.setattr(Kernels, "_cubin", lambda _self, key: key)
        forget()
        return driver

    yield put
    monkeypatch.undo()
    forget()


@pytest.fixture
def driver(put_in) -> Iterator[StandIn]:
    made = put_in(StandIn())
    yield made
    assert made.alive == []


@pytest.fixture
def device(driver: StandIn) -> Iterator[CudaDevice]:
    (info,) = BACKEND.devices()
    opened = BACKEND.open(info)
    yield opened
    opened.close()
