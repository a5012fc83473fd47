"""`vkrun convert`: a GGUF file of a Hugging Face checkpoint. No device is touched."""

import re
from pathlib import Path

import click

from ..convert.write import TYPES, Rule, convert
from ..errors import ConvertError, reason
from .progress import Bar
from .screen import note


def _rule(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[Rule]:
    rules: list[Rule] = []
    for text in texts:
        pattern, _, kind = text.rpartition("=")
        if not pattern or kind.lower() not in TYPES:
            raise click.BadParameter(f"{text}: expected REGEX=TYPE with a type of {', '.join(TYPES)}")
        try:
            rules.append((re.compile(pattern), TYPES[kind.lower()]))
        except re.error as error:
            raise click.BadParameter(f"{pattern}: {error}") from error
    return rules


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("checkpoint", metavar="FOLDER", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.gguf", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--outtype", type=click.Choice(list(TYPES), case_sensitive=False), default="f16", show_default=True)
@click.option("--type", "rules", multiple=True, callback=_rule, metavar="REGEX=TYPE",
              help="Another type for tensors whose name matches; the first match counts.")  # fmt: skip
@click.option("--name", help="general.name; the folder's name otherwise.")
@click.option("--license", "licence", help="general.license, an SPDX expression.")
@click.option("--license-link", help="general.license.link.")
@click.option("--description", help="general.description.")
@click.option("--pre", help="tokenizer.ggml.pre, where the split rule is not recognised.")
@click.option("--no-tokenizer", is_flag=True, help="Leave the tokenizer out.")
@click.option("-v", "--verbose", is_flag=True, help="Name each tensor as it is written.")
def command(
    checkpoint: Path, out: Path, outtype: str, rules: list[Rule], name: str | None, licence: str | None,
    license_link: str | None, description: str | None, pre: str | None, no_tokenizer: bool, verbose: bool,
) -> None:  # fmt: skip
    """Convert a Hugging Face Qwen3-Next checkpoint into a GGUF file.

    FOLDER holds config.json, the safetensors and the tokenizer's files.
    """
    general = {"license": licence, "license.link": license_link, "description": description}
    given = {key: value for key, value in general.items() if value}
    with Bar() as bar:

        def progress(done: int, total: int, tensor: str) -> None:
            bar("converting", done, total)
            if verbose:
                note(tensor)

        try:
            notes = convert(checkpoint, out, outtype.lower(), rules, name=name, general=given, pre=pre,
                            tokenizer=not no_tokenizer, progress=progress)  # fmt: skip
        except OSError as error:
            raise ConvertError(f"{error.filename or out}: {reason(error)}") from error
    for text in notes:
        note(text)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
