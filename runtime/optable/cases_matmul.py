"""Cases of the op table: matmul."""

from .case import Case

CASES: tuple[Case, ...] = ()
