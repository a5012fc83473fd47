"""How much work a dispatch is, roughly, and the cutting of a plan into submissions that no watchdog kills.

Windows and amdgpu reset a device that works on one submission for 2 s, and i915 cancels it and reports success.
"""

from collections.abc import Sequence
from math import prod

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from .steps import Step

# operations that take at most some 100 ms on a slow device of its kind
BUDGETS = {"discrete gpu": 1e11, "integrated gpu": 2e10, "virtual gpu": 2e10, "cpu": 1e12}
PER_ELEMENT = 16.0


def operations(node: Node) -> float:
    """Twice the multiplications of a product of matrices; otherwise so many operations for each element touched."""
    if node.op.startswith("mul_mat"):
        return 2.0 * _size(node.outputs[0]) * node.inputs[0].shape[-1]
    return PER_ELEMENT * sum(map(_size, (*node.inputs, *node.outputs)))


def _size(t: Tensor) -> int:
    return prod(t.shape)


def pieces(steps: Sequence[Step], budget: float) -> list[list[Step]]:
    """Runs of steps within the budget each; at least one piece, and at least one step in each but an empty plan's."""
    made: list[list[Step]] = [[]]
    load = 0.0
    for step in steps:
        cost = operations(step.part)
        if made[-1] and load + cost > budget:
            made.append([])
            load = 0.0
        made[-1].append(step)
        load += cost
    return made
