"""Router: which worker has read the beginning of a prompt already, by hashes of its blocks of tokens."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np

BLOCK = 64  # tokens; about what lies between two places from which a prompt can be gone on from
MOST = 1 << 16  # blocks that are remembered


class Router:
    """Remembers for each block, with all that stands before it, the worker that read it last."""

    def __init__(self) -> None:
        self._readers: OrderedDict[bytes, int] = OrderedDict()

    def choose(self, ids: Sequence[int], loads: Mapping[int, float]) -> int:
        """The worker that shares most of a prompt's beginning, else the one with the least load; loads: by worker, of
        those with room."""
        best = None
        for key in _hashes(ids):
            if (reader := self._readers.get(key)) is None:
                break
            best = reader if reader in loads else best
        return min(loads, key=lambda w: loads[w]) if best is None else best

    def note(self, ids: Sequence[int], worker: int) -> None:
        for key in _hashes(ids):
            self._readers[key] = worker
            self._readers.move_to_end(key)
        while len(self._readers) > MOST:
            self._readers.popitem(last=False)

    def forget(self, worker: int) -> None:
        """It was started anew, and has read nothing."""
        for key in [key for key, w in self._readers.items() if w == worker]:
            del self._readers[key]


def _hashes(ids: Sequence[int]) -> Iterator[bytes]:
    """For each whole block, of all tokens up to its end."""
    tokens, so_far = np.asarray(ids, "<i4"), blake2b(digest_size=16)
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        so_far.update(tokens[end - BLOCK : end].tobytes())
        yield so_far.digest()
