"""How much work a dispatch is, roughly, and the cutting of a plan into submissions that no watchdog kills.

Windows and amdgpu reset a device that works on one submission for 2 s, and i915 cancels it and reports success.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TypeVar

from ..runtime import config
from ..runtime.ir.graph import Node
from ..runtime.ir.traffic import traffic

Work = TypeVar("Work")

# operations that take at most some 100 ms on a slow device of its kind
BUDGETS = {"discrete gpu": 1e11, "integrated gpu": 2e10, "virtual gpu": 2e10, "cpu": 1e12}
PER_BYTE = 4.0


def budget(kind: str) -> float:
    """Operations of one submission on a device of that kind, or as the user wishes."""
    gflop = config.read().submit_gflop
    return 1e9 * gflop if gflop else BUDGETS.get(kind, inf)


def operations(node: Node) -> float:
    """Those of its products, and PER_BYTE for each byte that it moves."""
    work = traffic(node)
    return work.flops + PER_BYTE * (work.read + work.written)


def pieces(works: Sequence[Work], node_of: Callable[[Work], Node], most: float) -> list[list[Work]]:
    """Runs of works within the budget `most` each: at least one, and at least one work in each of a plan with any."""
    made: list[list[Work]] = [[]]
    load = 0.0
    for work in works:
        cost = operations(node_of(work))
        if made[-1] and load + cost > most:
            made.append([])
            load = 0.0
        made[-1].append(work)
        load += cost
    return made
