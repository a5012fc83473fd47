"""A plan recorded once and replayed: one sequence for each run of nodes between two barriers."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...runtime import config
from ...runtime.errors import BackendError
from ...runtime.ir.graph import Node
from ...runtime.ir.plan import Plan
from ...runtime.ir.tensor import Kind, Storage, Tensor
from ...shaders.kernel import Features
from ..base import Program, Progress, noted
from .api import Api, errors
from .dispatch import Dispatch, Dispatcher
from .memory import Place
from .store import Store
from .transfer import seconds_of


class KomputeProgram(Program):
    """Evaluating a sequence waits on a fence, which orders it against the next one. kp's only barrier after a dispatch
    comes with a copy of a whole buffer to its twin on the host, and two such copies in one sequence are a hazard in
    themselves, so that a fence for each of the plan's barriers is what is left."""

    def __init__(
        self, api: Api, store: Store, features: Features, plan: Plan, progress: Progress | None = None
    ) -> None:
        self._api, self._store, self._plan = api, store, plan
        self._temps = store.alloc_temps(plan)
        self._dispatcher = Dispatcher(api, features, self._place_of)
        self._sequences: list[Any] = []
        self._singles: list[Any] = []
        self._open = True
        try:
            self._touched = {self._place_of(t.storage).block for node in plan.nodes for t in _tensors(node)}
            self._dispatches = self._dispatcher.dispatches(plan.nodes, progress)
            self._sequences.extend(api.sequence(group) for group in _groups(plan, self._dispatches))
        except BaseException:
            self.close()
            raise
        config.note(
            3, f"record {len(plan.nodes)} nodes, {len(self._dispatches)} dispatches, {plan.n_barriers} barriers"
        )
        config.note(3, f"  {len(self._sequences)} sequences, {plan.arena.nbytes} bytes of temporaries")

    def run(self) -> None:
        with self._store.lock, errors("running"):
            self._require_open()
            for sequence in self._sequences:
                sequence.eval()
            self._store.check()

    def read(self, tensor: Tensor) -> np.ndarray:
        with self._store.lock:
            self._require_open()
            return self._store.read(tensor, self._place_of(tensor.storage))

    def profile(self) -> list[float]:
        """Wall-clock time of each node evaluated alone, less that of copying a word: kp's timestamps come without
        their unit, from queries that were never reset. Nodes with nothing to do take 0."""
        with self._store.lock, errors("running"):
            self._require_open()
            self._singles = self._singles or self._record_singles()
            idle = self._store.idle_seconds()
            times = [max(seconds_of(s) - idle, 0.0) if s is not None else 0.0 for s in self._singles]
            self._store.check()
        return noted(self._plan, times)

    def close(self) -> None:
        with self._store.lock:
            if self._open:
                self._open = False
                self._give_back()

    def _give_back(self) -> None:
        for sequence in (*self._sequences, *self._singles):
            if sequence is not None:
                sequence.destroy()
        self._sequences, self._singles = [], []
        self._dispatcher.close()
        self._store.give_back({p.block for p in self._temps.values()})

    def _record_singles(self) -> list[Any]:
        found = (self._dispatches.get(node) for node in self._plan.nodes)
        return [self._api.sequence([d]) if d else None for d in found]

    def _place_of(self, storage: Storage) -> Place:
        return self._temps[storage] if storage.kind is Kind.TEMP else self._store.place_of(storage)

    def _require_open(self) -> None:
        if not self._open or any(block.closed for block in self._touched):
            raise BackendError("kompute: the program is closed, or memory that it uses was freed")


def _tensors(node: Node) -> Iterable[Tensor]:
    return *node.inputs, *node.outputs


def _groups(plan: Plan, dispatches: dict[Node, Dispatch]) -> Iterator[list[Dispatch]]:
    """Dispatches between barriers; a node with nothing to do has none."""
    groups = ([dispatches[node] for node in nodes if node in dispatches] for nodes in plan.between_barriers())
    return filter(None, groups)
