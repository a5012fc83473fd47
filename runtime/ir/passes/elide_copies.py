"""elide_copies: copies that nobody needs go.

What goes, each only where byte ranges and last reads prove it and the kernels take the strides:
- a copy that is only read (contiguous, repeat along axes of 1): its readers look at the source;
- a copy into a place (cpy, contiguous in another order, parts of a concat, set): the producer writes there itself;
- the copy that `set` makes of what nobody reads afterwards: it happens in place;
- copies of nothing, and nodes whose result nobody reads.
"""

from collections.abc import Callable

from ..editing import Editing, Supports, drop_dead, is_same, is_temp, view, whole
from ..graph import Graph, Node
from ..layout import Layout
from ..ops import OPS, OpKind
from ..tensor import Tensor


def elide_copies(graph: Graph, supports: Supports) -> Graph:
    """A graph of the same results with fewer copies."""
    edit = Editing(graph, lambda node: supports(node) and _worth(node))
    _drop_empty(edit)
    drop_dead(edit)
    for i in range(len(edit)):  # in order, so that a chain of sets works on one tensor
        _each(edit, i, _forward)
    for i in reversed(range(len(edit))):  # from the end, so that a chain of copies ends up in its last place
        _each(edit, i, _backward)
    drop_dead(edit)
    return edit.finished()


def _worth(node: Node) -> bool:
    """Products read their rows many times over, and write them in runs: a copy that makes these contiguous pays."""
    tensors = (*node.inputs, *node.outputs)
    return OPS[node.op].kind is not OpKind.PRODUCT or all(t.layout.rows_contiguous for t in tensors)


def _each(edit: Editing, i: int, rule: Callable[[Editing, int, Node], None]) -> None:
    node = edit.at(i)
    if node is not None:
        rule(edit, i, node)


def _forward(edit: Editing, i: int, node: Node) -> None:
    op, (out, *_) = OPS[node.op], node.outputs
    source = op.view(*node.inputs, **node.attrs) if op.view else None
    if source is not None:
        _read_source(edit, i, out, source)
    elif op.places and 0 not in (places := op.places(out, *node.inputs, **node.attrs)):
        _overwrite(edit, i, node, places)


def _backward(edit: Editing, i: int, node: Node) -> None:
    op, (out, *_) = OPS[node.op], node.outputs
    if op.places is None:
        return
    if any(is_same(t, out) for t in node.inputs):
        _write_in_place(edit, i, node)
    elif 0 in (places := op.places(out, *node.inputs, **node.attrs)):
        _split(edit, i, node, places)


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


def _split(edit: Editing, i: int, node: Node, places: dict[int, Tensor]) -> None:
    """Inputs side by side become a copy of each, where at least one's producer writes to its place itself."""
    parts = [_cpy(node, node.inputs[j], place) for j, place in places.items() if place.layout.n_elements]
    if any(_producer(edit, i, p.inputs[0]) is not None for p in parts):
        edit.put(i, *parts)
        for part in parts:
            _write_in_place(edit, i, part)
        if len(edit.all_at(i)) == len(parts):
            edit.put(i, node)


def _overwrite(edit: Editing, i: int, node: Node, places: dict[int, Tensor]) -> None:
    """Inputs over parts of input 0 go straight into it, where nobody reads afterwards what stood there."""
    x, (out,) = node.inputs[0], node.outputs
    if not (whole(x) and is_temp(x) and whole(out) and is_temp(out)) or edit.is_output(x.storage):
        return
    parts = [_cpy(node, node.inputs[j], view(x, place.layout)) for j, place in places.items()]
    if any(edit.is_read(p.outputs[0], i + 1) for p in parts) or any(edit.is_written(t, i + 1) for t in (x, out)):
        return
    edit.put(i, *parts)
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
    if at is None or src.dtype is not dst.dtype or not _same_runs(edit, edit.at(at), node):
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


def _same_runs(edit: Editing, producer: Node | None, copy: Node) -> bool:
    """Does the producer run just when the copy does, or always, and nobody looks there in other runs?"""
    branch, place = producer and producer.branch, copy.outputs[0]
    if branch is not None or copy.branch is None:
        return branch is copy.branch or (branch is not None and branch.same_runs(copy.branch))
    alone = (n.branch is not None and n.branch.same_runs(copy.branch) for _, n in edit.users(place.storage))
    return is_temp(place) and not edit.is_output(place.storage) and all(alone)


def _target(src: Tensor, dst: Tensor) -> Tensor | None:
    """Where the elements of src's storage, in order, shall stand so that src is dst."""
    axes = sorted(range(src.ndim), key=lambda axis: -src.layout.strides[axis])
    if not src.layout.permute(*axes).is_contiguous:
        return None
    layout = dst.layout.permute(*axes).reshape(src.storage.shape)
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
            if x.overlaps(out) and (not OPS[node.op].elementwise or not _same_places(x.layout, out.layout)):
                return False
    return True


def _same_places(a: Layout, b: Layout) -> bool:
    """Does element i of both stand at one place?"""
    return a.shape == b.shape and a.collapse() == b.collapse()
