"""How tokens are drawn, as options: the same for every command that draws some."""

import re
from typing import Any

import click

from ..errors import UsageError
from ..text.sampler_names import ORDER, names_of, switched_off

NAMES = (
    *("temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"),
    *("presence_penalty", "frequency_penalty", "seed"),
)
_BIAS = re.compile(r"(\d+)([+-](?:inf|\d+(?:\.\d*)?))\Z")

SAMPLING = (
    click.option("-s", "--seed", type=int, default=-1, metavar="N", help="-1: another one each time [default: -1]."),
    click.option("--temp", "--temperature", "temp", type=float, default=0.8, show_default=True, help="0: greedy."),
    click.option("--top-k", type=int, default=40, show_default=True, help="0: off."),
    click.option("--top-p", type=float, default=0.95, show_default=True, help="1: off."),
    click.option("--min-p", type=float, default=0.05, show_default=True, help="0: off."),
    click.option("--repeat-penalty", type=float, default=1.0, show_default=True, help="1: off."),
    click.option(
        "--repeat-last-n", type=int, default=64, show_default=True, help="Tokens that are penalised; -1: all."
    ),
    click.option("--presence-penalty", type=float, default=0.0, show_default=True),
    click.option("--frequency-penalty", type=float, default=0.0, show_default=True),
    click.option("--samplers", metavar="NAME;...", help=f"Those that are on, of {';'.join(ORDER)} [default: all]."),
    click.option(
        "--sampler-seq", "--sampling-seq", "sampler_seq", metavar="LETTERS", help="The same by llama.cpp's letters."
    ),
)
LOGIT_BIAS = click.option(
    "-l", "--logit-bias", multiple=True, metavar="ID(+/-)BIAS", help="Add that to the logit of a token (repeatable)."
)


def taken_sampling(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the options out of a command's values: what SamplerSettings is made of."""
    off = _off(values)
    return {name: values.pop(name) for name in NAMES} | off


def taken_biases(values: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    """-l out of a command's values, as SamplerSettings has it; UsageError for what is none."""
    return tuple(_bias(text) for text in values.pop("logit_bias"))


def _off(values: dict[str, Any]) -> dict[str, float]:
    """What samplers that are not named are set to; UsageError for names and orders that cannot be."""
    text, letters = values.pop("samplers"), values.pop("sampler_seq")
    if text is not None and letters is not None:
        raise click.UsageError("--samplers and --sampler-seq: the samplers are named in one place only")
    if text is not None:
        option, names = "--samplers", text.split(";")
    elif letters is not None:
        option, names = "--sampler-seq", names_of(letters)
    else:
        return {}
    try:
        return switched_off([name for name in names if name.strip()])
    except UsageError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _bias(text: str) -> tuple[int, float]:
    found = _BIAS.match(text)
    if found is None:
        raise click.UsageError(f"--logit-bias: {text!r:.40}, expected a token's number and a bias, such as 15043-1.5")
    return int(found[1]), max(-1e6, min(1e6, float(found[2])))
