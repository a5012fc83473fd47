"""Cases of the op table: rows."""

from .case import Case

CASES: tuple[Case, ...] = ()
