"""Nodes alike: what a kernel's choice can depend on is the same. Layers repeat, and with them their nodes."""

from collections.abc import Callable, Hashable

from .graph import Node
from .tensor import Storage, Tensor


class Alike:
    """Keys of nodes, equal where op, attributes, whether it belongs to a branch, and of every operand dtype, layout and
    what its storage is are, and the operands that share a storage are the same ones."""

    def __init__(self) -> None:
        self._forms: dict[Hashable, int] = {}
        self._of: dict[Tensor, int] = {}

    def key(self, node: Node) -> Hashable:
        tensors = (*node.inputs, *node.outputs)
        forms = tuple(map(self._form, tensors))
        return node.op, len(node.inputs), forms, _shared(tensors), tuple(node.attrs.items()), node.branch is None

    def _form(self, t: Tensor) -> int:
        found = self._of.get(t)
        if found is None:
            s = t.storage
            form = t.dtype, t.layout, s.kind, s.dtype, s.shape
            found = self._of[t] = self._forms.setdefault(form, len(self._forms))
        return found


def _shared(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    """Which operands share a storage; () where none do."""
    storages = [t.storage for t in tensors]
    if len(set(storages)) == len(storages):
        return ()
    firsts: dict[Storage, int] = {}
    return tuple(firsts.setdefault(s, i) for i, s in enumerate(storages))


def asked_once(refusal: Callable[[Node], str]) -> Callable[[Node], str]:
    """The same answers, of nodes alike from one question."""
    alike, answers = Alike(), {}

    def answer(node: Node) -> str:
        key = alike.key(node)
        if key not in answers:
            answers[key] = refusal(node)
        return answers[key]

    return answer
