"""All cases of the op table, in order of the ops' families."""

from . import (
    cases_attention,
    cases_copies,
    cases_delta,
    cases_elementwise,
    cases_matmul,
    cases_moe,
    cases_projections,
    cases_rows,
    cases_sampling,
)
from .case import Case

CASES: tuple[Case, ...] = (
    *cases_attention.CASES,
    *cases_elementwise.CASES,
    *cases_copies.CASES,
    *cases_rows.CASES,
    *cases_sampling.CASES,
    *cases_matmul.CASES,
    *cases_delta.CASES,
    *cases_moe.CASES,
    *cases_projections.CASES,
)


def cases_for(is_software: bool) -> tuple[Case, ...]:
    """The table for a device; some kernels refuse what is slow on a CPU."""
    return CASES if is_software else (*CASES, *cases_moe.GPU_CASES)
