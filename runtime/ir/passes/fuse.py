"""fuse: chains that the backend runs as one dispatch become one node.

Each rule looks at one node and its neighbours, builds the fused node, asks whether there is a kernel for it, and only
then changes anything. What has no kernel is left for decompose.
"""

from collections.abc import Callable, Sequence

from ..graph import Graph, Node
from ..ops import OPS, Spec
from ..tensor import Kind, Storage, Tensor
from .editing import Editing, Supports, is_temp, view, whole

MAX_PROJECTIONS = 3  # of one input in one dispatch: input, weights and outputs are a binding each
SPLIT_KEYS = 256  # keys that one part of a split attention looks at


def fuse(graph: Graph, supports: Supports) -> Graph:
    """A graph of the same results with fewer, larger nodes."""
    for op, rule in RULES:
        edit = Editing(graph, supports)
        for i in range(len(edit)):
            node = edit.at(i)
            if node is not None and node.op == op:
                rule(edit, i, node, supports)
        graph = edit.finished()
    return graph


def make(op: str, inputs: Sequence[Tensor], name: str, outputs: Sequence[Tensor | None] = (), **attrs: object) -> Node:
    """A node of an op: given outputs are taken over, the others are new."""
    outs = OPS[op].infer(*inputs, **attrs)
    given = [*outputs, *[None] * (len(outs) - len(outputs))]
    made = [_output(f"{name}.{op}", spec, old) for spec, old in zip(outs, given, strict=True)]
    return Node(op, tuple(inputs), tuple(made), attrs, f"{name}.{op}")


def _output(name: str, spec: Spec | Tensor, given: Tensor | None) -> Tensor:
    if isinstance(spec, Tensor):
        return spec
    return given or Storage(name, Kind.TEMP, spec.dtype, spec.shape).tensor()


def _scope(node: Node) -> str:
    return node.name.removesuffix(f".{node.op}")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.storage is b.storage and a.layout == b.layout


def _maker(edit: Editing, t: Tensor, op: str, before: int) -> tuple[int, Node] | None:
    """The node of an op that alone makes all of the temporary that t shows in order."""
    in_order = t.layout.is_contiguous and t.layout.n_elements == t.storage.n_elements
    return _sole_maker(edit, t, op, before) if in_order else None


def _sole_maker(edit: Editing, t: Tensor, op: str, before: int) -> tuple[int, Node] | None:
    """The node of an op that alone makes the temporary of which t is a view."""
    if not is_temp(t):
        return None
    made = [(j, n) for j, n in edit.users(t.storage, 0, before) if any(o.storage is t.storage for o in n.outputs)]
    alone = len(made) == 1 and made[0][1].op == op and _stands(edit, *made[0])
    return made[0] if alone else None


def _stands(edit: Editing, i: int, node: Node) -> bool:
    """Is the node still alone at its position?"""
    return edit.at(i) is node


def _readers(edit: Editing, t: Tensor, i: int) -> list[tuple[int, Node]]:
    return [(j, n) for j, n in edit.users(t.storage, i + 1) if any(x.storage is t.storage for x in n.inputs)]


def _only_reader(edit: Editing, t: Tensor, i: int, op: str) -> tuple[int, Node] | None:
    """The single node that reads what position i makes, when it is of an op and the graph does not give it out."""
    readers = _readers(edit, t, i)
    alone = len(readers) == 1 and readers[0][1].op == op and not edit.is_output(t.storage)
    return readers[0] if alone and _stands(edit, *readers[0]) else None


def _untouched(edit: Editing, s: Storage, start: int, stop: int) -> bool:
    return not any(True for _ in edit.users(s, start + 1, stop))


def _moe(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """moe_ffn and the residual add after it: routing, gate and up, sum; decompose splits what has no kernel."""
    found = _only_reader(edit, node.outputs[0], i, "add")
    if found is None:
        return
    j, add = found
    residual = next((t for t in add.inputs if t.storage is not node.outputs[0].storage), None)
    x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in = node.inputs
    if (
        residual is None
        or residual.shape != add.outputs[0].shape
        or not _untouched(edit, add.outputs[0].storage, -1, i)
    ):
        return
    name = _scope(node)
    logits, always = (make("mul_mat", (w, x), name) for w in (router, shared_in))
    route = make("route", (logits.outputs[0],), name, k=node.attrs["k"])
    ids, weights = route.outputs
    hidden = make("experts_gate_up", (x, gate, up, ids, shared_gate, shared_up), name)
    ins = (hidden.outputs[0], down, ids, weights, hidden.outputs[1], shared_down, always.outputs[0], residual)
    parts = [logits, always, route, hidden, make("experts_down", ins, name, add.outputs)]
    if supports(route):
        edit.put(i, *parts)
        edit.remove(j)


def _add_norm(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """The residual add and the norm of its sum."""
    (total,) = node.outputs
    norms = [(j, n) for j, n in _readers(edit, total, i) if n.op == "rms_norm_scale" and _stands(edit, j, n)]
    if len(norms) != 1 or not _same(norms[0][1].inputs[0], total) or not whole(total):
        return
    j, norm = norms[0]
    outs = (total, norm.outputs[0])
    fused = make("add_rms_norm", (*node.inputs, norm.inputs[1]), _scope(norm), outs, eps=norm.attrs["eps"])
    if node.inputs[0].shape == node.inputs[1].shape and supports(fused):
        edit.put(i, fused)
        edit.remove(j)


def _delta_norm(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """The delta net and the gated norm of its output."""
    found = _only_reader(edit, node.outputs[0], i, "gated_norm")
    if found is None or not _same(found[1].inputs[0], node.outputs[0]):
        return
    j, norm = found
    ins = (*node.inputs, *norm.inputs[1:])
    fused = make("gated_delta_norm", ins, _scope(node), norm.outputs, eps=norm.attrs["eps"])
    if _untouched(edit, node.outputs[1].storage, i, j) and supports(fused):
        edit.put(j, fused)
        edit.remove(i)


def _normed_rope(edit: Editing, t: Tensor, before: int) -> tuple[list[int], Tensor, Node, Node] | None:
    """Where the rope(rms_norm_scale(x)) is made of which t is a view, and x, the rope and the norm."""
    rope = _sole_maker(edit, t, "rope", before)
    norm = _maker(edit, rope[1].inputs[0], "rms_norm_scale", rope[0]) if rope else None
    if rope is None or norm is None or _only_reader(edit, norm[1].outputs[0], norm[0], "rope") is None:
        return None
    return [norm[0], rope[0]], norm[1].inputs[0], rope[1], norm[1]


def _qk_rope(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """Attention's inputs: norm and rope of q and k, and both cache writes."""
    q_out, k_cache, v_cache = node.inputs[:3]
    writes = [_last_write(edit, cache, i) for cache in (k_cache, v_cache)]
    q = _normed_rope(edit, q_out, i)
    if q is None or None in writes:
        return
    (k_at, k_write), (v_at, v_write) = (w for w in writes if w is not None)
    k = _normed_rope(edit, k_write.inputs[2], k_at)
    if k is None or not _same(k_write.inputs[1], v_write.inputs[1]):
        return
    if not all(_same(a, b) for a, b in zip(q[2].inputs[1:], k[2].inputs[1:], strict=True)):
        return
    if not whole(k_write.inputs[2]):
        return
    values = v_write.inputs[2]
    seen = values.layout.reshape(k[1].shape)
    if seen is None or q[3].attrs != k[3].attrs or _only_reader(edit, k[2].outputs[0], k[0][1], "set_rows") is None:
        return
    ins = (q[1], k[1], view(values, seen), q[3].inputs[1], k[3].inputs[1], *q[2].inputs[1:], k_write.inputs[1])
    caches = (k_write.outputs[0], v_write.outputs[0])
    fused = make("qk_rope_cache", (*ins, *caches), _scope(node), (q[2].outputs[0],), eps=q[3].attrs["eps"])
    if supports(fused):
        last = max(k_at, v_at, *q[0])
        for at in {*q[0], *k[0], k_at, v_at} - {last}:
            edit.remove(at)
        edit.put(last, fused)


def _last_write(edit: Editing, cache: Tensor, before: int) -> tuple[int, Node] | None:
    found = [(j, n) for j, n in edit.users(cache.storage, 0, before) if n.op == "set_rows"]
    return found[-1] if found and _stands(edit, *found[-1]) else None


def _split_attention(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """Attention of one token over many keys: parts side by side, then their combination."""
    *ins, gate = node.inputs
    n_split = node.attrs["n_kv"] // SPLIT_KEYS
    if ins[0].shape[1] != 1 or n_split < 2:
        return
    parts = make("attention_split", ins, _scope(node), n_split=n_split, **node.attrs)
    combine = make("attention_combine", (parts.outputs[0], gate), _scope(node), node.outputs)
    if supports(parts) and supports(combine):
        edit.put(i, parts, combine)


def _projections(edit: Editing, i: int, node: Node, supports: Supports) -> None:
    """Products of one input with several weights of one type."""
    w, x = node.inputs
    if w.ndim != 2 or x.ndim != 2 or w.storage.kind is not Kind.WEIGHT:
        return
    kin = [(j, n) for j, n in edit.users(x.storage, i) if _stands(edit, j, n) and _projects(n, x)]
    kin = [(j, n) for j, n in kin if n.inputs[0].dtype is w.dtype][:MAX_PROJECTIONS]
    if len(kin) < 2 or kin[0][0] != i or edit.is_written(x, i, kin[-1][0] + 1):
        return
    outs = [n.outputs[0] for _, n in kin]
    fused = make("mul_mats", (x, *(n.inputs[0] for _, n in kin)), _scope(node), outs)
    if supports(fused):
        for j, _ in kin:
            edit.remove(j)
        edit.put(i, fused)


def _projects(n: Node, x: Tensor) -> bool:
    if n.op != "mul_mat":
        return False
    w = n.inputs[0]
    return _same(n.inputs[1], x) and w.ndim == 2 and w.storage.kind is Kind.WEIGHT and is_temp(n.outputs[0])


Rule = Callable[[Editing, int, Node, Supports], None]
RULES: tuple[tuple[str, Rule], ...] = (
    ("moe_ffn", _moe),
    ("add", _add_norm),
    ("gated_delta_net", _delta_norm),
    ("attention", _qk_rope),
    ("attention", _split_attention),
    ("mul_mat", _projections),
)
