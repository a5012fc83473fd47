"""Cases of the op table: elementwise."""

from .case import Case

CASES: tuple[Case, ...] = ()
