"""Some of the op table where each case takes long: of an op's neighbours the one that is least work."""

from collections.abc import Iterable

from vkrun.runtime.ir.traffic import traffic
from vkrun.runtime.optable.case import Case
from vkrun.tests.nodes import bare


def spread(cases: Iterable[Case], n_neighbours: int) -> list[Case]:
    of_ops: dict[str, list[Case]] = {}
    for case in cases:
        of_ops.setdefault(case.op, []).append(case)
    starts = ((of_op, i) for of_op in of_ops.values() for i in range(0, len(of_op), n_neighbours))
    return [min(of_op[i : i + n_neighbours], key=work) for of_op, i in starts]


def work(case: Case) -> int:
    return traffic(bare(case).node).flops
