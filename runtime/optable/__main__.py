"""`python -m vkrun.runtime.optable`: the op table on one or more backends, as `vkrun test-ops` runs it."""

import click

from .matrix import run_matrix


@click.command()
@click.option("-o", "--op", "ops", multiple=True, help="Only this op (may be repeated).")
@click.option("-b", "--backend", "backends", multiple=True, help="Only this backend (may be repeated).")
@click.option("--device", help="Device index, UUID or part of its name.")
@click.option("-v", "--verbose", is_flag=True, help="A line a case.")
def main(ops: tuple[str, ...], backends: tuple[str, ...], device: str | None, verbose: bool) -> None:
    raise SystemExit(0 if run_matrix(ops, backends, device, verbose) else 1)


main()
