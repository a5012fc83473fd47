"""The backends there are: built in, or brought by other packages through the entry points `vkrun.backends`."""

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ..runtime import config
from ..runtime.errors import BackendError
from . import probe
from .base import Backend, Device, DeviceInfo

GROUP = "vkrun.backends"
HERE = ("metal",) if sys.platform == "darwin" else ()  # nobody is told of it where it cannot be
ORDER = (*HERE, "vulkan", "cuda", "kompute")  # by worth; then other packages' backends; the cpu backend last
FASTER = {"vulkan": "cuda"}  # of two APIs of one card the one that docs/performance.md measures faster
LAST = "cpu"
# neither listed nor chosen, but where it is named: for tests, or to be told why it cannot be used
BY_NAME = ("host",) if HERE else ("host", "metal")
BUILT_IN = {name: f"vkrun.backends.{name}:BACKEND" for name in (*ORDER, LAST, *BY_NAME)}


class BrokenBackend(Backend):
    """Stands in for a backend that cannot be loaded, and says why."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self._why = name, why

    def devices(self) -> list[DeviceInfo]:
        return []

    def why_missing(self) -> str:
        return self._why

    def open(self, info: DeviceInfo) -> Device:
        raise BackendError(self._why)


def names() -> list[str]:
    """Every backend known by name, best first; get(name).why_missing() tells whether it can be used."""
    found = _targets()
    others = sorted(set(found) - {*ORDER, LAST, *BY_NAME})
    return [*ORDER, *others, LAST]


@cache
def get(name: str) -> Backend:
    """BackendError lists what there is when the name is unknown.

    A backend that fails to load, or would end the process when asked for its devices, says so itself.
    """
    target = _targets().get(name)
    if target is None:
        raise BackendError(f"no backend {name}; there are {', '.join((*names(), *BY_NAME))}")
    if name != LAST and (why := probe.why_harmful(name, target)):
        return BrokenBackend(name, why)
    try:
        module, _, attribute = target.partition(":")
        backend = getattr(import_module(module), attribute)
    except Exception as error:  # other people's code: whatever it raises must not take vkrun down
        return BrokenBackend(name, f"{name}: {target} cannot be loaded: {type(error).__name__}: {error}")
    ok = isinstance(backend, Backend)
    return backend if ok else BrokenBackend(name, f"{name}: {target} is a {type(backend).__name__}, no Backend")


def devices() -> list[DeviceInfo]:
    """Every device of every backend that can be used, each backend's best first."""
    return [info for name in names() for info in _usable(get(name))]


def choose(backend: str | None = None, device: str | int | None = None) -> tuple[Backend, DeviceInfo]:
    """The best device, or the best that fits: `device` is an index, a UUID or its beginning, or a part of a name.

    What is not given comes from VKRUN_BACKEND and VKRUN_DEVICE. Without wishes a GPU of any backend goes before
    software devices, and a card that two backends reach is used through the FASTER. BackendError lists what there is.
    """
    wanted = config.read()
    backend, device = backend or wanted.backend, wanted.device if device is None else device
    tried = [backend] if backend else names()
    fitting = list(_fitting(tried, device))
    if not fitting:
        raise BackendError(_nothing(tried, device))
    found = next((pair for pair in fitting if not pair[1].is_software), fitting[0])
    return found if backend else _faster(*found)


def _faster(backend: Backend, info: DeviceInfo) -> tuple[Backend, DeviceInfo]:
    """The same card, by its UUID, through another backend where that is faster."""
    name = FASTER.get(backend.name)
    if name not in names() or not info.uuid or info.is_software:
        return backend, info
    other = get(name)
    return next(((other, d) for d in _usable(other) if d.uuid == info.uuid), (backend, info))


def _fitting(tried: list[str], device: str | int | None) -> Iterator[tuple[Backend, DeviceInfo]]:
    """Fitting devices, best first; an index counts in the first backend that can be used. Stops at the first GPU."""
    for name in tried:
        devices = _usable(get(name))
        found = [d for d in devices if _fits(d, device)]
        yield from ((get(name), d) for d in found)
        if any(not d.is_software for d in found) or (devices and _as_index(device) is not None):
            return


def _usable(backend: Backend) -> list[DeviceInfo]:
    return [] if backend.why_missing() else [d for d in backend.devices() if not d.missing]


def _fits(info: DeviceInfo, device: str | int | None) -> bool:
    if device is None:
        return True
    if (index := _as_index(device)) is not None:
        return info.index == index
    wanted = str(device).strip().lower()
    by_uuid = bool(info.uuid) and info.uuid.lower().replace("-", "").startswith(wanted.replace("-", ""))
    return bool(wanted) and (wanted in info.name.lower() or by_uuid)


def _as_index(device: str | int | None) -> int | None:
    """Up to 3 digits are an index; more begin a UUID."""
    text = "" if device is None else str(device).strip()
    return int(text) if text.isdecimal() and len(text) <= 3 else None


def _nothing(tried: list[str], device: str | int | None) -> str:
    there = [f"{name} {d.index}: {d.name}" for name in tried for d in get(name).devices()]
    missing = [why for name in tried if (why := get(name).why_missing())]
    what = f"no device {device}" if device is not None else f"no device of backend {', '.join(tried)}"
    return "; ".join([f"{what}; there are {', '.join(there) or 'none'}", *missing])


def _targets() -> dict[str, str]:
    """Name -> `module:attribute`; what is built in stays even where the package's metadata is absent."""
    return {**{e.name: e.value for e in _entry_points()}, **BUILT_IN}


def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))
