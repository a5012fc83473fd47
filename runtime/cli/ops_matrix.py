"""`vkrun test-ops`: the op table on the user's own device."""

from pathlib import Path

import click

from ..optable.matrix import run_matrix
from .ops_report import Report
from .ranges import Whole
from .screen import note


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--op", "ops", multiple=True, metavar="OP", help="Only this op (repeatable).")
@click.option("-b", "--backend", "backends", multiple=True, metavar="NAME", help="Only this backend (repeatable).")
@click.option("-dev", "--device", metavar="DEVICE", help="Index, UUID or part of the name; see `vkrun devices`.")
@click.option(
    "--opt",
    "level",
    type=Whole(0, 3),
    help="Each case as the plan of an optimisation level; else its op as it is.",
)
@click.option("-v", "--verbose", is_flag=True, help="A line for each case.")
@click.option(
    "--report",
    is_flag=False,
    flag_value="vkrun-report.txt",
    metavar="FILE",
    help="Write what we need to know of a machine that we do not have: device, each case, what the bundled model says "
    "[vkrun-report.txt].",
)
def command(
    ops: tuple[str, ...],
    backends: tuple[str, ...],
    device: str | None,
    level: int | None,
    verbose: bool,
    report: str | None,
) -> int:
    """Hold every op against its meaning in numpy, on each backend there is. Exit code 1 when one fails."""
    if report is None:
        return 0 if run_matrix(ops, backends, device, verbose, level) else 1
    with Report(Path(report)) as made:
        passed = run_matrix(ops, backends, device, verbose, level, made)
        agrees = made.add_model()
    note(f"written to {report}: please send it along with an issue")
    return 0 if passed and agrees else 1
