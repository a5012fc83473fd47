"""Finding backends and choosing devices."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from vkrun.backends import registry
from vkrun.backends.base import Backend, Device, DeviceInfo
from vkrun.runtime.errors import BackendError


class FakeBackend(Backend):
    def __init__(self, name: str, *devices: DeviceInfo, why: str = "") -> None:
        self.name, self._devices, self._why = name, list(devices), why

    def devices(self) -> list[DeviceInfo]:
        return self._devices

    def why_missing(self) -> str:
        return self._why

    def open(self, info: DeviceInfo) -> Device:
        raise NotImplementedError


def device(backend: str, index: int, name: str, kind: str, uuid: str = "") -> DeviceInfo:
    return DeviceInfo(backend, index, name, kind=kind, uuid=uuid)


GPU = device("vulkan", 0, "Radeon RX 7900", "discrete gpu", "00000000-0300-0000-0000-000000000000")
IGPU = device("vulkan", 1, "Radeon Graphics", "integrated gpu", "12345678-0400-0000-0000-000000000000")
SOFT = device("vulkan", 2, "llvmpipe", "cpu")
CPU = device("cpu", 0, "x86_64", "cpu")


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch):
    """Sets what get() finds, by name."""
    for name in ("VKRUN_BACKEND", "VKRUN_DEVICE"):
        monkeypatch.delenv(name, raising=False)

    def use(*made: FakeBackend) -> None:
        table = {b.name: b for b in made}
        monkeypatch.setattr(registry, "names", lambda: list(table))
        monkeypatch.setattr(registry, "get", table.__getitem__)

    return use


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch):
    """Adds entry points to those found."""

    def add(*points: tuple[str, str]) -> None:
        made = tuple(EntryPoint(name, value, registry.GROUP) for name, value in points)
        monkeypatch.setattr(registry, "_entry_points", lambda: made)
        registry.get.cache_clear()

    yield add
    registry.get.cache_clear()


def test_built_in_backends_need_no_metadata(entry_point) -> None:
    entry_point()
    assert registry.names() == ["vulkan", "cuda", "kompute", "cpu"]
    assert registry.get("cpu").name == "cpu"


def test_a_mac_has_metal_first_and_others_are_told_why_not() -> None:
    code = "import sys; sys.platform = 'darwin'; from vkrun.backends import registry; print(*registry.names())"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert made.split() == ["metal", "vulkan", "cuda", "kompute", "cpu"]
    assert sys.platform == "darwin" or registry.get("metal").why_missing() == "metal: there is no Metal but on macOS"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(BackendError, match=r"no backend opencl; there are vulkan, cuda, kompute, .*cpu"):
        registry.get("opencl")


def test_another_packages_backend_is_found(entry_point, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("abacus")
    module.BEADS = FakeBackend("abacus")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "abacus", module)
    entry_point(("abacus", "abacus:BEADS"))
    assert registry.names() == ["vulkan", "cuda", "kompute", "abacus", "cpu"]
    assert registry.get("abacus") is module.BEADS


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module_at_all:X", "ModuleNotFoundError"),
        ("json:NOTHING", "AttributeError"),
        ("json:loads", "no Backend"),
        ("json", "AttributeError"),
        ("this is no target", "cannot be loaded"),
    ],
)
def test_a_broken_entry_point_is_only_missing(entry_point, target: str, why: str) -> None:
    entry_point(("broken", target))
    backend = registry.get("broken")
    assert why in backend.why_missing() and target in backend.why_missing()
    assert backend.devices() == []
    with pytest.raises(BackendError, match="broken"):
        backend.open(CPU)


def test_other_packages_cannot_replace_what_is_built_in(entry_point) -> None:
    entry_point(("cpu", "json:loads"))
    assert registry.get("cpu").why_missing() == ""


def test_the_best_device_of_the_first_backend(backends) -> None:
    backends(FakeBackend("vulkan", GPU, IGPU, SOFT), FakeBackend("cpu", CPU))
    assert registry.choose()[1] is GPU


def test_a_gpu_goes_before_software_of_a_better_backend(backends) -> None:
    other = device("kompute", 0, "Mali", "integrated gpu")
    backends(FakeBackend("vulkan", SOFT), FakeBackend("kompute", other), FakeBackend("cpu", CPU))
    assert registry.choose()[1] is other


@pytest.fixture
def one_card(backends) -> tuple[DeviceInfo, DeviceInfo]:
    """A card that two backends reach, beside others that only one does."""
    card, same = (device(name, 0, "H100", "discrete gpu", "b0793ede-2841") for name in ("vulkan", "cuda"))
    other = device("cuda", 1, "A100", "discrete gpu", "00000000-1111")
    backends(FakeBackend("vulkan", card, IGPU), FakeBackend("cuda", other, same), FakeBackend("cpu", CPU))
    return card, same


def test_a_card_is_used_through_its_faster_api(one_card) -> None:
    assert registry.choose()[1] is one_card[1]
    assert registry.choose(device="H100")[1] is one_card[1]
    assert registry.choose(device=0)[1] is one_card[1]  # counted in the first backend


def test_a_card_that_one_api_reaches_is_used_through_that(one_card) -> None:
    assert registry.choose(device=1)[1] is IGPU


def test_a_backend_that_is_named_is_used(one_card, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.choose("vulkan")[1] is one_card[0]
    monkeypatch.setenv("VKRUN_BACKEND", "vulkan")
    assert registry.choose()[1] is one_card[0]


def test_a_faster_api_that_is_missing_is_passed_over(backends) -> None:
    card, same = (device(name, 0, "H100", "discrete gpu", "b0793ede") for name in ("vulkan", "cuda"))
    backends(FakeBackend("vulkan", card), FakeBackend("cuda", same, why="no NVRTC"), FakeBackend("cpu", CPU))
    assert registry.choose()[1] is card


def test_software_of_the_better_backend_when_there_is_no_gpu(backends) -> None:
    backends(FakeBackend("vulkan", SOFT), FakeBackend("cpu", CPU))
    assert registry.choose()[1] is SOFT


def test_a_missing_backend_is_passed_over(backends) -> None:
    backends(FakeBackend("vulkan", GPU, why="no loader"), FakeBackend("cpu", CPU))
    assert registry.choose()[1] is CPU


def test_a_forced_backend_that_is_missing_says_why(backends) -> None:
    backends(FakeBackend("vulkan", why="vulkan: no loader"), FakeBackend("cpu", CPU))
    with pytest.raises(BackendError, match="no device of backend vulkan; there are none; vulkan: no loader"):
        registry.choose("vulkan")


@pytest.mark.parametrize(
    ("wish", "found"),
    [(1, IGPU), ("1", IGPU), ("rx 79", GPU), ("LLVM", SOFT), ("12345678-04", IGPU), ("1234567804", IGPU), ("x86", CPU)],
)
def test_by_index_uuid_or_name(backends, wish: str | int, found: DeviceInfo) -> None:
    backends(FakeBackend("vulkan", GPU, IGPU, SOFT), FakeBackend("cpu", CPU))
    assert registry.choose(None, wish)[1] is found


@pytest.mark.parametrize("wish", [7, "7", "geforce", "ffff0000", "", " "])
def test_no_such_device_lists_what_there_is(backends, wish: str | int) -> None:
    backends(FakeBackend("vulkan", GPU, SOFT), FakeBackend("cpu", CPU))
    with pytest.raises(BackendError, match=r"there are vulkan 0: Radeon RX 7900, vulkan 2: llvmpipe"):
        registry.choose(None, wish)


def test_a_device_that_cannot_run_is_passed_over(backends) -> None:
    broken = DeviceInfo("vulkan", 0, "Old", kind="discrete gpu", missing="Vulkan 1.0 only")
    backends(FakeBackend("vulkan", broken, IGPU))
    assert registry.choose()[1] is IGPU


def test_the_environment_is_a_wish_and_an_argument_goes_before_it(backends, monkeypatch: pytest.MonkeyPatch) -> None:
    backends(FakeBackend("vulkan", GPU, IGPU, SOFT), FakeBackend("cpu", CPU))
    monkeypatch.setenv("VKRUN_DEVICE", "llvm")
    assert registry.choose()[1] is SOFT
    assert registry.choose(None, 0)[1] is GPU
    monkeypatch.setenv("VKRUN_BACKEND", "cpu")
    assert registry.choose(None, 0)[1] is CPU
    assert registry.choose("vulkan", 0)[1] is GPU
