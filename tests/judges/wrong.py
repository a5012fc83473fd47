"""The register of mutants of single ops."""

from collections.abc import Callable

from .mutants import Mutant, Unfit

MUTANTS: dict[str, list[Mutant]] = {}


def wrong(name: str, *ops: str) -> Callable:
    """Registers f(compute, *inputs, **attrs) as a mutant of the ops."""

    def register(f: Callable) -> Callable:
        for op in ops:
            made = Mutant(name, lambda compute, _node: lambda *inputs, **attrs: f(compute, *inputs, **attrs))
            MUTANTS.setdefault(op, []).append(made)
        return f

    return register


def require_fit(fits: bool) -> None:
    if not fits:
        raise Unfit
