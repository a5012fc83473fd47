"""`vkrun list`: models that were fetched, or what a repository has. No device is touched."""

import time

import click

from ..hub.names import COLUMNS, catalogue, parse, size_of
from ..hub.store import Stored
from .hub_models import store
from .hub_options import OFFLINE, TOKEN, FromHub
from .screen import columns, note, safe


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="[USER/REPO]", required=False)
@TOKEN
@OFFLINE
def command(name: str | None, hf_token: str | None, offline: bool) -> None:
    """List the models that were fetched; with USER/REPO, those that the repository has."""
    with store(FromHub(name, None, hf_token, offline)) as s:
        if name is not None:
            models = s.models(parse(name).repo)
            rows, right = [COLUMNS, *catalogue(models)], (1, 2)
        else:
            rows, right = [("model", "size", "fetched", "file"), *map(_row, s.stored())], (1,)
    if len(rows) == 1:
        note("no models" + (f" of {name} there" if name else " were fetched yet: vkrun pull user/repo"))
    else:
        click.echo(safe(columns(rows, right)))


def _row(stored: Stored) -> tuple[str, ...]:
    name = f"{stored.repo}:{stored.model.quant}" if stored.model.quant else stored.repo
    when = time.strftime("%Y-%m-%d", time.localtime(stored.when))
    return name, size_of(stored.model), when, stored.model.paths[0]
