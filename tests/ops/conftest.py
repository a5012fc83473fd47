"""The cuda and metal backends on stand-ins of their APIs, for the tests of this folder."""

from collections.abc import Iterator

import pytest
from vkrun.backends import registry
from vkrun.backends.cuda import BACKEND, api, nvrtc
from vkrun.backends.cuda.device import CudaDevice
from vkrun.backends.cuda.kernels import Kernels
from vkrun.backends.metal import BACKEND as METAL
from vkrun.backends.metal import api as metal_api
from vkrun.backends.metal.device import MetalDevice
from vkrun.tests.cuda_stand_in import StandIn
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.metal_stand_in.msl_kernels import compiled


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


@pytest.fixture
def put_in_mac(monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in where Metal is; what is remembered of backends is forgotten before and after."""

    def put(mac: Mac) -> Mac:
        monkeypatch.setattr(metal_api, "framework", lambda: mac)
        monkeypatch.setattr(metal_api, "bridge", lambda: mac.objc)
        monkeypatch.setattr(metal_api, "system", lambda: mac.system)
        registry.get.cache_clear()
        return mac

    yield put
    monkeypatch.undo()
    registry.get.cache_clear()


@pytest.fixture
def mac(put_in_mac) -> Iterator[Mac]:
    made = put_in_mac(Mac(compiled))
    yield made
    assert made.alive == []


@pytest.fixture
def metal(mac: Mac) -> Iterator[MetalDevice]:
    (info,) = METAL.devices()
    opened = METAL.open(info)
    yield opened
    opened.close()
