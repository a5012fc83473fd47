"""Cases of the op table: copies."""

from .case import Case

CASES: tuple[Case, ...] = ()
