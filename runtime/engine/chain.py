"""Beginnings of token sequences by hash: a chain of digests, one for each BLOCK of tokens and all before it."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import blake2b

from ..ir.composites.slots import SPAN

BLOCK = SPAN  # tokens of a link
ROOT = b""  # before the first one


def link(before: bytes, ids: Sequence[int]) -> bytes:
    """The digest of some tokens behind those that `before` stands for: no two of them meet by chance or by intent."""
    return blake2b(before + array("i", ids).tobytes(), digest_size=16).digest()


def extended(chain: list[bytes], ids: Sequence[int]) -> list[bytes]:
    """The chain of ids, of whose beginning `chain`, which it becomes, is one already."""
    for at in range(len(chain) * BLOCK, len(ids) // BLOCK * BLOCK, BLOCK):
        chain.append(link(chain[-1] if chain else ROOT, ids[at : at + BLOCK]))
    return chain


def n_alike(n: int, differs: Callable[[int], bool]) -> int:
    """How many of the first n links are shared, given that none is behind one that differs."""
    return bisect_left(range(n), True, key=differs)


def n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two short sequences begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class Beginning:
    """Token ids and their chain."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids
        self.chain = extended([], ids)

    def n_shared(self, ids: Sequence[int], chain: Sequence[bytes]) -> int:
        """How many tokens it begins with as ids do, whose chain is given."""
        n = n_alike(min(len(chain), len(self.chain)), lambda i: chain[i] != self.chain[i]) * BLOCK
        return n + n_shared(self.ids[n : n + BLOCK], ids[n : n + BLOCK])
