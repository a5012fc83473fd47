"""`vkrun devices`: backends, their devices, and what is missing."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import click

from ...backends import registry
from ...backends.base import DeviceInfo
from ..errors import BackendError
from ..units import size_text
from .screen import one_line


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(as_json: bool) -> None:
    """List backends, devices, drivers, memory, features and what is missing."""
    show_devices(as_json)


def show_devices(as_json: bool = False) -> None:
    best, why_none = _best()
    if as_json:
        click.echo(json.dumps(_as_object(best)))
        return
    for name in registry.names():
        click.echo("\n".join(_backend_lines(name, best)))
    click.echo(why_none or _verdict(best))


def _best() -> tuple[DeviceInfo | None, str]:
    """The device that would be used, or why there is none (a wish in the environment that nothing fits)."""
    try:
        return registry.choose()[1], ""
    except BackendError as error:
        return None, one_line(str(error))


def _verdict(best: DeviceInfo | None) -> str:
    if best is None:
        return ""
    line = f"* is used unless --backend or --device says otherwise: {best.backend} {best.index}"
    return line + (", a software device: no GPU was found" if best.is_software else "")


def _backend_lines(name: str, best: DeviceInfo | None) -> Iterator[str]:
    backend = registry.get(name)
    why, found = backend.why_missing(), backend.devices()
    yield name + (f": {one_line(why).removeprefix(f'{name}: ')}" if why else "" if found else ": no devices")
    for info in found:
        yield from _device_lines(info, _is_same(info, best))
    yield ""


def _device_lines(info: DeviceInfo, is_best: bool) -> Iterator[str]:
    yield f"{'*' if is_best else ' '} {info.index}: {one_line(info.name)} ({info.kind})"
    rows = {
        "driver": info.driver,
        "uuid": info.uuid,
        "memory": _memory(info),
        "features": ", ".join(_on(info)),
        "lacks": ", ".join(key for key, value in info.features.items() if not value),
        "missing": info.missing,
    }
    for title, text in rows.items():
        if text:
            yield f"     {title:<9} {one_line(text)}"


def _is_same(info: DeviceInfo, best: DeviceInfo | None) -> bool:
    """Free memory differs from one look to the next."""
    return best is not None and (info.backend, info.index) == (best.backend, best.index)


def _memory(info: DeviceInfo) -> str:
    if not info.memory:
        return ""
    free = "" if info.memory_free is None else f", {size_text(info.memory_free)} free"
    return size_text(info.memory) + free


def _on(info: DeviceInfo) -> list[str]:
    """Features that a device has: switches by name, quantities with their value."""
    return [key if value is True else f"{key} {value}" for key, value in info.features.items() if value]


def _as_object(best: DeviceInfo | None) -> dict[str, object]:
    backends = {}
    for name in registry.names():
        backend = registry.get(name)
        found = [{**asdict(d), "is_default": _is_same(d, best)} for d in backend.devices()]
        backends[name] = {"why_missing": backend.why_missing(), "devices": found}
    return {"backends": backends}
