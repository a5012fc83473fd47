"""elide_copies: copies that nobody needs go.

What goes, each only where byte ranges and last reads prove it and the kernels take the strides:
- a copy that is only read (contiguous, repeat along axes of 1): its readers look at the source;
- a copy into a place (cpy, the parts of a concat, set): the producer writes there itself;
- the copy that `set` makes of what nobody reads afterwards: it happens in place;
- copies of nothing, and nodes whose result nobody reads.
"""

from collections.abc import Callable

from ..graph import Graph, Node
from ..layout import Layout
from ..ops import elementwise
from ..ops.copies import set_region
from ..tensor import Tensor
from .editing import Editing, Supports, drop_dead, is_temp, view, whole

IN_PLACE = {*elementwise.UNARY, *elementwise.BINARY, "scale", "clamp", "swiglu"}  # element i depends on element i only


def elide_copies(graph: Graph, supports: Supports) -> Graph:
    """A graph of the same results with fewer copies."""
    edit = Editing(graph, lambda node: supports(node) and _worth(node))
    _drop_empty(edit)
    drop_dead(edit)
    for i in range(len(edit)):  # in order, so that a chain of sets works on one tensor
        _each(edit, i, _FORWARD)
    for i in reversed(range(len(edit))):  # from the end, so that a chain of copies ends up in its last place
        _each(edit, i, _BACKWARD)
    drop_dead(edit)
    return edit.finished()


def _worth(node: Node) -> bool:
    """Products read their rows many times over: a copy that makes these contiguous pays."""
    return node.op not in ("mul_mat", "mul_mat_id") or all(t.layout.rows_contiguous for t in node.inputs)


Rule = Callable[[Editing, int, Node], None]


def _each(edit: Editing, i: int, rules: dict[str, Rule]) -> None:
    node = edit.at(i)
    if node is not None and node.op in rules:
        rules[node.op](edit, i, node)


def _drop_empty(edit: Editing) -> None:
    for i in range(len(edit)):
        node = edit.at(i)
        if node is not None and all(t.layout.n_elements == 0 for t in node.outputs):
            edit.remove(i)


def _read_source(edit: Editing, i: int, copy: Tensor, source: Tensor) -> None:
    """Let the readers of a copy look at its source, unless that is overwritten while they still read."""
    if not whole(copy) or not is_temp(copy) or copy.dtype is not source.dtype or edit.is_output(copy.storage):
        return
    if edit.is_written(source, i + 1, edit.last_use(copy.storage) + 1) or edit.is_written(copy, i + 1):
        return
    node = edit.at(i)
    edit.remove(i)
    if not edit.substitute(copy.storage, source):
        edit.put(i, *([node] if node else []))


def _read_contiguous(edit: Editing, i: int, node: Node) -> None:
    _read_source(edit, i, node.outputs[0], node.inputs[0])


def _read_repeat(edit: Editing, i: int, node: Node) -> None:
    (x,), (out,) = node.inputs, node.outputs
    if all(n in (1, m) for n, m in zip(x.shape, out.shape, strict=True)):
        _read_source(edit, i, out, view(x, x.layout.broadcast_to(out.shape)))


def _split_concat(edit: Editing, i: int, node: Node) -> None:
    """A concat becomes a copy of each part, where at least one part's producer can write its part itself."""
    (a, b), (out,), axis = node.inputs, node.outputs, node.attrs["axis"]
    n = a.shape[axis]
    places = out.layout.slice(axis, 0, n), out.layout.slice(axis, n, out.shape[axis])
    parts = [_cpy(node, t, view(out, place)) for t, place in zip((a, b), places, strict=True)]
    parts = [p for p in parts if p.outputs[0].layout.n_elements]
    if any(_producer(edit, i, p.inputs[0]) is not None for p in parts):
        edit.put(i, *parts)
        for part in parts:
            _write_in_place(edit, i, part)


def _set_in_place(edit: Editing, i: int, node: Node) -> None:
    """set(x, src) overwrites x where nobody reads afterwards what stood there."""
    (x, src), (out,) = node.inputs, node.outputs
    region = set_region(x, src, node.attrs["strides"], node.attrs["offset"])
    if not (whole(x) and is_temp(x) and whole(out) and is_temp(out)) or edit.is_output(x.storage):
        return
    place = view(x, region)
    if edit.is_read(place, i + 1) or edit.is_written(out, i + 1) or edit.is_written(x, i + 1):
        return
    edit.put(i, _cpy(node, src, place))
    if not edit.substitute(out.storage, x):
        edit.put(i, node)


def _cpy(node: Node, src: Tensor, dst: Tensor) -> Node:
    return Node("cpy", (src, dst), (dst,), {}, f"{node.name}.part", node.branch)


def _producer(edit: Editing, i: int, src: Tensor) -> int | None:
    """The position of the one node that makes all of a temporary, when src is that temporary in order."""
    if not is_temp(src) or edit.is_output(src.storage) or src.layout.n_elements != src.storage.n_elements:
        return None
    made = list(edit.writers(src.storage.tensor(), 0))
    if len(made) != 1 or made[0] >= i:
        return None
    node = edit.at(made[0])
    return made[0] if node is not None and any(whole(t) and t.storage is src.storage for t in node.outputs) else None


def _write_in_place(edit: Editing, i: int, node: Node) -> None:
    """Let the producer of a copy's source write to where the copy would bring it."""
    src, dst = node.inputs[0], node.outputs[0]
    at = _producer(edit, i, src)
    if at is None or src.dtype is not dst.dtype or node.op != "cpy" or not _same_runs(edit.at(at), node):
        return
    target = _target(src, dst)
    if target is None or _touched_between(edit, at, i, node, dst):
        return
    if edit.is_written(dst, i + 1, edit.last_use(src.storage) + 1):
        return
    before = edit.all_at(i)
    edit.put(i, *(n for n in before if n is not node))
    if not edit.substitute(src.storage, target, also=lambda n: _safe_in_place(n, target)):
        edit.put(i, *before)


def _same_runs(producer: Node | None, copy: Node) -> bool:
    """Does the producer run just when the copy does?"""
    branch = producer and producer.branch
    return branch is copy.branch or (branch is not None and branch.same_runs(copy.branch))


def _target(src: Tensor, dst: Tensor) -> Tensor | None:
    """Where the elements of src's storage, in order, shall stand so that src is dst."""
    if not src.layout.is_contiguous:
        return None
    layout = dst.layout.reshape(src.storage.shape)
    return None if layout is None else view(dst, layout)


def _touched_between(edit: Editing, at: int, i: int, copy: Node, dst: Tensor) -> bool:
    """Does a run of the copy at i write to its place from the producer at `at` on, or read there what stood before?"""
    nodes = [(j, n) for j, n in edit.users(dst.storage, at, i + 1) if n is not copy and not _other_runs(n, copy)]
    written = any(dst.overlaps(t) for j, n in nodes if j < i for t in n.outputs)
    return written or any(dst.overlaps(t) for j, n in nodes if j > at for t in n.inputs)


def _other_runs(node: Node, copy: Node) -> bool:
    return node.branch is not None and node.branch.other_runs(copy.branch)


def _safe_in_place(node: Node, target: Tensor) -> bool:
    """A node that now writes to the target may read there only element by element."""
    written = [t for t in node.outputs if t.storage is target.storage]
    for out in written:
        for x in node.inputs:
            if x.overlaps(out) and (node.op not in IN_PLACE or not _same_places(x.layout, out.layout)):
                return False
    return True


def _same_places(a: Layout, b: Layout) -> bool:
    """Does element i of both stand at one place?"""
    return a.shape == b.shape and a.collapse() == b.collapse()


_FORWARD: dict[str, Rule] = {"contiguous": _read_contiguous, "repeat": _read_repeat, "set": _set_in_place}
_BACKWARD: dict[str, Rule] = {"concat": _split_concat, "cpy": _write_in_place}
