"""The judge of every op, by family."""

from . import attention, copies, elementwise, matmul, moe, recurrent, rows, sampling
from .judge import Judge

FAMILIES = (copies, elementwise, rows, matmul, attention, recurrent, moe, sampling)
JUDGES: dict[str, Judge] = {op: judge for family in FAMILIES for op, judge in family.JUDGES.items()}
