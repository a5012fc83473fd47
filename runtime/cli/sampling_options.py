"""How tokens are drawn, as options: the same for every command that draws some."""

from typing import Any

import click

NAMES = (
    *("temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"),
    *("presence_penalty", "frequency_penalty", "seed"),
)
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
)


def taken_sampling(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the options out of a command's values: what SamplerSettings is made of."""
    return {name: values.pop(name) for name in NAMES}
