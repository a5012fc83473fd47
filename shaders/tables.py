"""Tables of block types that shaders look codes up in, from the gguf package, as macros for the compiler.

A row of eight values of which there are three is 16 bits, value i's place among them in bits 2i and 2i + 1, two rows a
word; a row of four values is a word of bytes.
"""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

import gguf.quants
import numpy as np

from ..runtime.ir.dtypes import DType

LONGEST = 512  # words of a constant array: drivers keep longer ones in each invocation's own memory
_GRIDS = {"IQ1_S": 1024, "IQ1_M": 1024, "IQ2_XXS": 128, "IQ2_XS": 256, "IQ2_S": 512, "IQ3_XXS": 256, "IQ3_S": 512}
TYPES = {f"TYPE_{name}": name for name in _GRIDS}
_N_WORDS = {DType[name]: n for name, n in _GRIDS.items()}
_N_WORDS |= dict.fromkeys((DType.IQ4_NL, DType.IQ4_XS, DType.MXFP4, DType.NVFP4), 256)  # codebook.glsl's


def macros(defines: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What a variant's compiler is told beside its defines where its type has a table: GRID_LENGTH, and its words in
    lists of at most LONGEST, GRID_WORDS and GRID_MORE_WORDS."""
    return tuple(macro for name, _ in defines if name in TYPES for macro in _macros(TYPES[name]))


def digest(defines: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What names of compiled variants say of the tables in them: how they are packed, since nothing else can change."""
    return (_packing(),) if any(name in TYPES for name, _ in defines) else ()


@functools.cache
def _packing() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def shared_nbytes(dtype: DType) -> int:
    """Of the table that kernels keep in shared memory."""
    return 4 * _N_WORDS.get(dtype, 0)


@functools.cache
def _macros(name: str) -> tuple[tuple[str, str], ...]:
    words = grid_words(name)
    parts = {"GRID_WORDS": words[:LONGEST], "GRID_MORE_WORDS": words[LONGEST:]}
    lists = ((part, ",".join(f"{word}u" for word in some)) for part, some in parts.items() if len(some))
    return *lists, ("GRID_LENGTH", f"{len(words)}u")


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
