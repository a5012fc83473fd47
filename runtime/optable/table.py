"""All cases of the op table, in order of the ops' families."""

from . import (
    cases_attention,
    cases_caches,
    cases_convolved,
    cases_copies,
    cases_decode,
    cases_elementwise,
    cases_glu,
    cases_long,
    cases_matmul,
    cases_mixed,
    cases_moe,
    cases_prompts,
    cases_recurrent,
    cases_rows,
    cases_sampling,
    cases_scans,
)
from .case import Case

CASES: tuple[Case, ...] = (
    *cases_attention.CASES,
    *cases_caches.CASES,
    *cases_long.CASES,
    *cases_decode.CASES,
    *cases_elementwise.CASES,
    *cases_copies.CASES,
    *cases_rows.CASES,
    *cases_sampling.CASES,
    *cases_matmul.CASES,
    *cases_mixed.CASES,
    *cases_glu.CASES,
    *cases_recurrent.CASES,
    *cases_convolved.CASES,
    *cases_scans.CASES,
    *cases_moe.CASES,
    *cases_prompts.CASES,
)


def cases_for(is_software: bool, level: int | None = None) -> tuple[Case, ...]:
    """The table for a device (some kernels refuse what is slow on a CPU) and an optimisation level: below 2 composites
    are decomposed, and cases for their kernels alone have no place."""
    cases = CASES if is_software else (*CASES, *cases_moe.GPU_CASES, *cases_prompts.GPU_CASES)
    return cases if level not in (0, 1) else tuple(c for c in cases if c.in_parts)
