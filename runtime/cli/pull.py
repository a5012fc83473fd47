"""`vkrun pull`: a model fetched ahead of its use. No device is touched."""

import click

from .hub_models import fetched
from .hub_options import FILE, TOKEN, FromHub


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="USER/REPO[:QUANT]")
@FILE
@TOKEN
def command(name: str, hf_file: str | None, hf_token: str | None) -> None:
    """Fetch a model from a hub, or what of it is not there yet.

    Without QUANT Q4_K_M is taken, or the nearest. Prints the path of its first file.
    """
    click.echo(fetched(FromHub(name, hf_file, hf_token)))
