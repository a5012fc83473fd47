"""How much work a dispatch is, roughly, and the cutting of a plan into submissions that no watchdog kills.

Windows and amdgpu reset a device that works on one submission for 2 s, and i915 cancels it and reports success.
"""

from collections.abc import Sequence

from ...runtime.ir.graph import Node
from ...runtime.ir.traffic import traffic
from .dispatches import Dispatch

# operations that take at most some 100 ms on a slow device of its kind
BUDGETS = {"discrete gpu": 1e11, "integrated gpu": 2e10, "virtual gpu": 2e10, "cpu": 1e12}
PER_BYTE = 4.0


def operations(node: Node) -> float:
    """Those of its products, and PER_BYTE for each byte that it moves."""
    work = traffic(node)
    return work.flops + PER_BYTE * (work.read + work.written)


def pieces(dispatches: Sequence[Dispatch], budget: float) -> list[list[Dispatch]]:
    """Runs of dispatches within the budget each: at least one, and at least one dispatch in each of a plan with any."""
    made: list[list[Dispatch]] = [[]]
    load = 0.0
    for dispatch in dispatches:
        cost = operations(dispatch.part)
        if made[-1] and load + cost > budget:
            made.append([])
            load = 0.0
        made[-1].append(dispatch)
        load += cost
    return made
