"""Bytes between the host and device memory, by kernels: kp can only copy whole tensors, and those it can copy keep a
twin on the host. So memory that the host cannot see is filled and read through a small window that it can."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...runtime.errors import BackendError
from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Kind, Storage, Tensor
from ...shaders.kernel import Features
from .api import Api, Block, errors
from .dispatch import Dispatcher
from .memory import Place

WINDOW_WORDS = 1 << 22  # 16 MiB
N_TIMED = 10


class Transfers:
    """Copies for one device, and the proof that it still runs what it is given."""

    def __init__(self, api: Api, features: Features) -> None:
        self._api = api
        self._places: dict[Storage, Place] = {}
        self._dispatcher = Dispatcher(api, features, self._places.__getitem__)
        self._blocks: dict[Block, Storage] = {}
        self._window: Block | None = None
        self._echo = api.block(8, on_host=True)
        self._echo_copy = self._copies((self._echo, 0), (self._echo, 1), 1)
        self._n_checks = 0

    def write(self, block: Block, offset: int, data: np.ndarray) -> None:
        """uint8 data to bytes from `offset` on. Words cut by either end are read first."""
        if block.bytes is not None:
            block.bytes[offset : offset + data.size] = data
            return
        lo, hi = offset // 4 * 4, -(-(offset + data.size) // 4) * 4
        if (lo, hi) != (offset, offset + data.size):
            whole = self.read(block, lo, hi - lo)
            whole[offset - lo : offset - lo + data.size] = data
            data = whole
        self._upload(block, lo, np.ascontiguousarray(data).view(np.uint32))

    def read(self, block: Block, offset: int, nbytes: int) -> np.ndarray:
        """A copy of nbytes from `offset` on, as uint8."""
        if block.bytes is not None:
            return block.bytes[offset : offset + nbytes].copy()
        lo, hi = offset // 4, -(-(offset + nbytes) // 4)
        return self._download(block, lo, hi - lo).view(np.uint8)[offset - 4 * lo :][:nbytes]

    def check(self) -> None:
        """Let the device copy a fresh number, since kp does not say when it is lost. BackendError when it is."""
        self._n_checks = (self._n_checks + 1) & 0xFFFFFFFF
        words = self._words(self._echo)
        words[0] = self._n_checks
        with errors("running"):
            self._echo_copy.eval()
        if words[1] != self._n_checks:
            raise BackendError("kompute: the device no longer answers (lost, or out of memory); open it again")

    def idle_seconds(self) -> float:
        """Wall-clock time of copying one word: what evaluating any sequence costs."""
        return min(seconds_of(self._echo_copy) for _ in range(N_TIMED))

    def forget(self, block: Block) -> None:
        """To be called when a block is given back, which the algorithms made for it must not outlive."""
        if block not in self._blocks:
            return
        del self._places[self._blocks.pop(block)]
        self._dispatcher.drop(block)

    def close(self) -> None:
        self._echo_copy.destroy()
        self._dispatcher.close()
        self._echo.close()
        if self._window:
            self._window.close()

    def _upload(self, block: Block, offset: int, words: np.ndarray) -> None:
        window = self._open_window()
        for at in range(0, words.size, WINDOW_WORDS):
            part = words[at : at + WINDOW_WORDS]
            self._words(window)[: part.size] = part
            self._copy((window, 0), (block, offset // 4 + at), part.size)
        self.check()

    def _download(self, block: Block, first: int, n_words: int) -> np.ndarray:
        window, out = self._open_window(), np.empty(n_words, np.uint32)
        for at in range(0, n_words, WINDOW_WORDS):
            part = out[at : at + WINDOW_WORDS]
            self._copy((block, first + at), (window, 0), part.size)
            part[...] = self._words(window)[: part.size]
        self.check()
        return out

    def _copy(self, src: tuple[Block, int], dst: tuple[Block, int], n_words: int) -> None:
        with errors("copying"):
            self._copies(src, dst, n_words).eval()

    def _copies(self, src: tuple[Block, int], dst: tuple[Block, int], n_words: int) -> Any:
        """A sequence that copies words between two (block, word). Its dispatches copy a power of two of words each,
        so that few grids occur, and hence few pipelines."""
        (a, a_at), (b, b_at) = (self._tensor(src[0]), src[1]), (self._tensor(dst[0]), dst[1])
        pieces = [(a.slice(0, a_at + lo, a_at + hi), b.slice(0, b_at + lo, b_at + hi)) for lo, hi in _pieces(n_words)]
        return self._api.sequence(self._dispatcher.dispatches(Node("cpy", (x, y), (y,)) for x, y in pieces).values())

    def _open_window(self) -> Block:
        self._window = self._window or self._api.block(4 * WINDOW_WORDS, on_host=True)
        return self._window

    def _tensor(self, block: Block) -> Tensor:
        """The words of a block."""
        if block not in self._blocks:
            storage = Storage("block", Kind.STATE, DType.I32, (block.nbytes // 4,))
            self._blocks[block], self._places[storage] = storage, Place(block, 0, block.nbytes)
        return self._blocks[block].tensor()

    def _words(self, block: Block) -> np.ndarray:
        if block.bytes is None:
            raise BackendError("kompute: the device is closed")
        return block.bytes.view(np.uint32)


def _pieces(n: int) -> Iterator[tuple[int, int]]:
    """[0, n) in runs whose lengths are powers of two, the longest first."""
    at = 0
    while at < n:
        step = 1 << ((n - at).bit_length() - 1)
        yield at, at + step
        at += step


def seconds_of(sequence: Any) -> float:
    start = time.perf_counter()
    sequence.eval()
    return time.perf_counter() - start
