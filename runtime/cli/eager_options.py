"""Options that print something and leave, the same for every command."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from ..version import VERSION


def _leaving(name: str, what: Callable[[], None], text: str) -> Any:
    def print_it(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
        if wanted:
            what()
            ctx.exit()

    return click.option(name, is_flag=True, expose_value=False, is_eager=True, callback=print_it, help=text)


LIST_DEVICES = _leaving(
    "--list-devices",
    lambda: import_module(".devices", __package__).show_devices(),
    "Print backends and devices, and leave.",
)
VERSION_OPTION = _leaving("--version", lambda: click.echo(f"vkrun {VERSION}"), "Print the version, and leave.")
EAGER = (LIST_DEVICES, VERSION_OPTION)
