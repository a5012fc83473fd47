"""Tables of block types that shaders look codes up in, from the gguf package, as -D options for the compiler.

A row of eight values of which there are three is 16 bits, value i's place among them in bits 2i and 2i + 1, two rows a
word; a row of four values is a word of bytes.
"""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

import gguf.quants
import numpy as np

TYPES = {f"TYPE_{name}": name for name in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")}


def options(defines: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What a variant's compiler is told beside its defines: GRID_WORDS, a list, where its type has a table."""
    return tuple(_option(TYPES[name]) for name, _ in defines if name in TYPES)


def digest(defines: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What names of compiled variants say of the tables in them: how they are packed, since nothing else can change."""
    return (_packing(),) if any(name in TYPES for name, _ in defines) else ()


@functools.cache
def _packing() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@functools.cache
def _option(name: str) -> str:
    return "-DGRID_WORDS=" + ",".join(f"{word}u" for word in grid_words(name))


def grid_words(name: str) -> np.ndarray:
    """uint32 [words] of a type's table."""
    kind = getattr(gguf.quants, name)
    kind.init_grid()
    rows = np.asarray(kind.grid)[0, 0]
    if rows.shape[1] == 4:
        return np.ascontiguousarray(rows.astype(np.uint8)).view("<u4").reshape(-1)
    codes = np.searchsorted(np.array(kind.grid_map), rows).astype(np.uint32)
    halves = (codes << 2 * np.arange(8, dtype=np.uint32)).sum(1)
    return (halves[::2] | halves[1::2] << np.uint32(16)).astype(np.uint32)
