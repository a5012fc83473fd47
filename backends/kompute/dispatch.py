"""From a kernel call to what kp records: an algorithm, made once for each kernel, grid and set of blocks, and its push
constants, which tell the storages of one block apart."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...runtime import config
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Storage
from ...shaders import catalogue
from ...shaders.compile import compile_all, spirv
from ...shaders.interface import OrderedCall, of_spirv
from ...shaders.kernel import Features, KernelCall
from ..base import Progress
from ..packing import argument_bytes
from .api import Api, Block
from .memory import Place

Dispatch = tuple[Any, np.ndarray]
Key = tuple[tuple[Block, ...], object]


class Dispatcher:
    """Makes dispatches of nodes over placed storages, and keeps the algorithms they share."""

    def __init__(self, api: Api, features: Features, place_of: Callable[[Storage], Place]) -> None:
        self._api, self._features, self._place_of = api, features, place_of
        self._algorithms: dict[Key, Any] = {}

    def dispatches(self, nodes: Iterable[Node], progress: Progress | None = None) -> dict[Node, Dispatch]:
        """Of the nodes that have something to do."""
        listed = list(nodes)
        lowered = zip(listed, catalogue.lower_all(listed, self._features), strict=True)
        calls = {node: call for node, call in lowered if call}
        compile_all(dict.fromkeys((call.stem, call.defines) for call in calls.values()))
        made: dict[Node, Dispatch] = {}
        for node, call in calls.items():
            ordered = of_spirv(call.stem, call.defines).order(call)
            made[node] = self._algorithm(call, ordered), self._push(ordered)
            if progress:
                progress(len(made), len(calls))
        return made

    def drop(self, block: Block) -> None:
        """Give back the algorithms over a block, which must not outlive it."""
        for key in [key for key in self._algorithms if block in key[0]]:
            self._algorithms.pop(key).destroy()

    def close(self) -> None:
        for algorithm in self._algorithms.values():
            algorithm.destroy()
        self._algorithms.clear()

    def _algorithm(self, call: KernelCall, ordered: OrderedCall) -> Any:
        blocks = tuple(self._place_of(t.storage).block for t in ordered.buffers)
        key = blocks, (call.code, call.grid)
        if key not in self._algorithms:
            config.note(4, f"pipeline {call.code.title} {call.grid}")
            words, n_push = spirv(call.stem, call.defines), len(ordered.arguments)
            self._algorithms[key] = self._api.algorithm(blocks, words, call.grid, ordered.constants, n_push)
        return self._algorithms[key]

    def _push(self, call: OrderedCall) -> np.ndarray:
        return np.frombuffer(argument_bytes(call, lambda s: self._place_of(s).offset), np.uint32)
