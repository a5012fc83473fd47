"""`vkrun test-ops`: the op table on the user's own device."""

import click

from ..optable.matrix import run_matrix


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--op", "ops", multiple=True, metavar="OP", help="Only this op (repeatable).")
@click.option("-b", "--backend", "backends", multiple=True, metavar="NAME", help="Only this backend (repeatable).")
@click.option("-dev", "--device", metavar="DEVICE", help="Index, UUID or part of the name; see `vkrun devices`.")
@click.option(
    "--opt",
    "level",
    type=click.IntRange(0, 3),
    help="Each case as the plan of an optimisation level; else its op as it is.",
)
@click.option("-v", "--verbose", is_flag=True, help="A line for each case.")
def command(
    ops: tuple[str, ...], backends: tuple[str, ...], device: str | None, level: int | None, verbose: bool
) -> int:
    """Hold every op against its meaning in numpy, on each backend there is. Exit code 1 when one fails."""
    return 0 if run_matrix(ops, backends, device, verbose, level) else 1
