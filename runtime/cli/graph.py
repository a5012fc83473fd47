"""`vkrun graph`: what the passes make of a model's graph, drawn and counted. No weight is read, no device opened."""

from pathlib import Path

import click

from ..counts import plan_step
from ..errors import UsageError, VkrunError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable
from ..model import model_kind
from ..picture.boxes import Picture, side
from ..picture.svg import svg
from ..picture.texts import as_dot, as_json, count_rows
from .hub_options import FromHub, with_hub
from .model_paths import model_path
from .ranges import Whole
from .screen import columns

FORMATS = {"svg": svg, "dot": as_dot, "json": as_json}
N_KV = 4096


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("model", metavar="[MODEL.gguf]", required=False)
@click.option("--opt", type=Whole(0, 3), default=3, show_default=True, help="The level to hold against 0.")
@click.option("--tokens", type=Whole(1, 4096), default=1, show_default=True, help="Of each sequence in a step.")
@click.option("--seqs", type=Whole(1, 256), default=1, show_default=True, help="Sequences in a step.")
@click.option("--keys", type=Whole(1, 1 << 20), default=N_KV, show_default=True, help="Attention looks at.")
@click.option("-o", "--output", metavar="FILE", help="Where to: .svg, .dot or .json; -: stdout [default: counts only].")
@click.option("--format", "kind", type=click.Choice(list(FORMATS)), help="[default: by FILE's name; json for -]")
@with_hub
def command(
    model: str | None, opt: int, tokens: int, seqs: int, keys: int, output: str | None, kind: str | None, hub: FromHub
) -> None:
    """Draw a layer of each sort before and after the passes, and count what a step does.

    Planned from the file's header alone, for a usual GPU.
    """
    how = _format(output, kind)
    path = model_path(model, hub, "vkrun graph MODEL.gguf")
    plans = [plan_step(path, level, tokens, seqs, max(keys, tokens)) for level in (0, opt)]
    picture = Picture(_title(path), tokens, seqs, max(keys, tokens), side(plans[0], 0), side(plans[1], opt))
    if how is None:
        click.echo(columns(count_rows(picture), right=range(1, 9)))
    elif output == "-" or output is None:
        click.echo(FORMATS[how](picture), nl=False)
    else:
        _write(Path(output), FORMATS[how](picture))


def _format(output: str | None, kind: str | None) -> str | None:
    """None: only counts. A name that says nothing is refused before any work is done."""
    if kind or not output:
        return kind
    suffix = "json" if output == "-" else Path(output).suffix[1:].lower()
    if suffix not in FORMATS:
        raise UsageError(f"-o: {output!r:.200} ends in none of .svg, .dot, .json; --format says which it is")
    return suffix


def _title(path: str) -> str:
    with GGUFFile.open(path, header_only=True) as f:
        return f"{printable(f.get_str('general.name', Path(f.path).stem))} ({model_kind(f)})"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VkrunError(f"{path}: cannot write: {error.strerror}") from None
