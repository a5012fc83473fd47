"""The support matrix: a row an op, a column a backend; what failed or was refused is listed below it."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from ...backends import registry
from ...backends.base import Device, DeviceInfo
from ..errors import UsageError
from ..gguf.keys import printable
from .case import Case
from .run import Outcome, run_case
from .table import CASES, cases_for


class Watch:
    """Is told of devices and cases as they run, for those who keep an account of it."""

    def opens(self, name: str, info: DeviceInfo) -> None:
        """Before a backend's device is opened."""

    def begins(self, case: Case) -> None:
        """Before a case, which may end the process."""

    def ended(self, outcome: Outcome) -> None:
        """After it."""


def run_matrix(
    ops: Sequence[str],
    backends: Sequence[str],
    device: str | None,
    verbose: bool,
    level: int | None = None,
    watch: Watch | None = None,
) -> bool:
    """Run the table (or some ops of it) on the backends that are here (or those named); print; True when all passed.

    level: of optimisation, 0 to 3, at which each case is planned; None runs each op as one node.
    """
    watch = watch or Watch()
    known = list(dict.fromkeys(c.op for c in CASES))
    if unknown := [op for op in ops if op not in known]:
        raise UsageError(f"no cases for op {unknown[0]}; there are {', '.join(sorted(known))}")
    names = list(backends) or [n for n in registry.names() if not registry.get(n).why_missing()]
    console, outcomes = Console(), {}
    for name in names:
        backend, info = registry.choose(name, device)
        console.print(escape(printable(f"{name}: {info.name}, {info.driver}")), highlight=False, soft_wrap=True)
        cases = [c for c in cases_for(info.is_software, level) if not ops or c.op in ops]
        watch.opens(name, info)
        opened = backend.open(info)
        try:
            shown = track(cases, f"{name}", console=console, transient=True)
            outcomes[name] = [_watched(c, opened, level, watch) for c in shown]
        finally:
            opened.close()
    console.print(_matrix(outcomes))
    _list(console, outcomes, verbose)
    return all(o.status != "fail" for all_of in outcomes.values() for o in all_of)


def _watched(case: Case, device: Device, level: int | None, watch: Watch) -> Outcome:
    watch.begins(case)
    outcome = run_case(case, device, level)
    watch.ended(outcome)
    return outcome


def _matrix(outcomes: dict[str, list[Outcome]]) -> Table:
    table = Table("op", *outcomes)
    ops = dict.fromkeys(o.case.op for all_of in outcomes.values() for o in all_of)
    for op in ops:
        table.add_row(op, *(_cell([o for o in all_of if o.case.op == op]) for all_of in outcomes.values()))
    table.add_section()
    table.add_row(f"{len(ops)} op" + "s" * (len(ops) != 1), *(_cell(all_of) for all_of in outcomes.values()))
    return table


def _cell(outcomes: list[Outcome]) -> str:
    n = {s: sum(o.status == s for o in outcomes) for s in ("pass", "fail", "refused")}
    text = f"{n['pass']} ok"
    text += f", [yellow]{n['refused']} refused[/]" if n["refused"] else ""
    return text + (f", [red]{n['fail']} FAILED[/]" if n["fail"] else "")


def _list(console: Console, outcomes: dict[str, list[Outcome]], verbose: bool) -> None:
    for name, all_of in outcomes.items():
        for o in all_of:
            if verbose or o.status != "pass":
                line = f"{name} {o.case.op} {o.case.what}: {o.status} {o.why or f'NMSE {o.nmse:.1e}, row {o.row:.1e}'}"
                console.print(escape(printable(line, 1000)), highlight=False, soft_wrap=True)
