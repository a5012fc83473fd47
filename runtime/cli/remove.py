"""`vkrun rm`: fetched models deleted. No network and no device is touched."""

import click

from ..hub.names import parse
from ..units import size_text
from .hub_models import store
from .hub_options import FILE, FromHub
from .screen import one_line


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="USER/REPO[:QUANT]...", nargs=-1, required=True)
@FILE
def command(names: tuple[str, ...], hf_file: str | None) -> None:
    """Delete fetched models; without QUANT all of the repository's."""
    wanted = [parse(name, hf_file or "") for name in names]
    with store(FromHub(offline=True)) as s:
        for each in wanted:
            paths, nbytes = s.remove(each)
            click.echo(f"{each.repo}: deleted {one_line(', '.join(paths))}; {size_text(nbytes)} freed")
