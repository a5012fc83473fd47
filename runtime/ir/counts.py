"""counts_of: how lean a plan is, in numbers."""

from .graph import Node
from .plan import Plan
from .tensor import Kind
from .traffic import Traffic, traffic


def counts_of(plan: Plan) -> dict[str, int]:
    """What one run of a plan does; sizes in bytes.

    nodes; dispatches: nodes that write anything, each one dispatch unless a device's limits split it; copies: nodes
    that move elements and compute nothing, the lookup in a weight's rows apart; copy_bytes: read and written by them;
    barriers; arena_bytes: for all temporaries; bytes_read, bytes_written: by every node.
    """
    copies = [n for n in plan.nodes if is_copy(n)]
    moved, copied = (sum(map(traffic, nodes), Traffic()) for nodes in (plan.nodes, copies))
    return {
        "nodes": len(plan.nodes),
        "dispatches": sum(any(t.layout.n_elements for t in n.outputs) for n in plan.nodes),
        "copies": len(copies),
        "copy_bytes": copied.read + copied.written,
        "barriers": plan.n_barriers,
        "arena_bytes": plan.arena.nbytes,
        "bytes_read": moved.read,
        "bytes_written": moved.written,
    }


def is_copy(node: Node) -> bool:
    """Does the node only move elements? A lookup in a weight, such as the embedding's, is no copy of anything."""
    return node.is_copy and node.inputs[0].storage.kind not in (Kind.WEIGHT, Kind.CONSTANT)
