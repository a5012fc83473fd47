"""Kernels of the stand-in: sources in Metal's own language, which clang compiles for this processor."""

import functools
import re
from collections.abc import Sequence

import numpy as np
from vkrun.backends.host import msl
from vkrun.backends.host.dispatch import Bound
from vkrun.runtime.errors import BackendError
from vkrun.shaders.interface import read_text
from vkrun.shaders.metal import ENTRY

_WORKGROUP = re.compile(r"^VK_CONSTANT uint VK_WORKGROUP = (?:uint\((\d+)\)|(\w+));$", re.MULTILINE)


class MslKernel:
    def __init__(self, source: str) -> None:
        self._library = msl.compiled("msl", source)
        declared = read_text("source", source)
        self.n_buffers, self.arguments_nbytes = declared.n_buffers, declared.words.size
        self.n_threads, self.threadgroup_nbytes = _n_threads(source), self._library.threadgroup_nbytes

    def run(self, buffers: Sequence[np.ndarray], arguments: bytes, grid: Sequence[int]) -> str:
        return self._library.run(ENTRY, [Bound(b) for b in buffers], arguments, grid, self.n_threads)


@functools.cache
def compiled(source: str) -> MslKernel:
    """As Metal's compiler is asked: ValueError with what is wrong."""
    try:
        return MslKernel(source)
    except BackendError as error:
        raise ValueError(str(error)) from error


def _n_threads(source: str) -> int:
    found = _WORKGROUP.search(source)
    assert found is not None
    if found[1]:
        return int(found[1])
    special = re.search(rf"^#define {found[2]} (\d+)u$", source, re.MULTILINE)
    assert special is not None
    return int(special[1])
