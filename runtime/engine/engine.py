"""Engine: a model on a device. Plans each step size once, replays it, and keeps the sequences' states in slots."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import Protocol

import numpy as np

from ...backends.base import Device, Program
from ..errors import UsageError
from ..ir.dtypes import DType
from ..ir.plan import Plan
from ..ir.tensor import Kind, Storage, Tensor
from ..models.architecture import Architecture
from ..models.step import Chunk, StepInputs, StepShape
from ..models.weights import Upload
from .fits import sizes_that_fit
from .planner import Prepared, prepare, uncollected
from .sizes import StepSizes

N_READERS = 8  # threads that bring weights to the device
MOST_READY = 128  # sizes; one of the 80B shape takes 2 to 5 MB of the host, beside what a device keeps for it
KV_SIZE = 256  # keys of the smallest planned step; the next ones double

Progress = Callable[[str, int, int], None]  # "loading" or "compiling": bytes or kernels, of how many (0: not known yet)


@dataclass(frozen=True)
class Ready:
    """A step size planned, compiled and ready to replay."""

    inputs: StepInputs
    plan: Plan
    program: Program
    output: Tensor  # logits, or the ring of drawn tokens


class Foresight(Protocol):
    """Who plans sizes before a step needs them, see ahead.py."""

    def take(self, shape: StepShape) -> Prepared | Ready | None:
        """What was done for a size, once that is done; None where it was not begun."""
        ...

    def begun(self, done: bool) -> list[StepShape]:
        """The sizes for which all is done that can be, or which are under way."""
        ...

    def waiting(self) -> list[StepShape]:
        """Those whose turn has not come."""
        ...

    def want(self, shape: StepShape) -> None: ...
    def is_over(self, shape: StepShape) -> bool: ...
    def adopt(self, seconds: float) -> bool: ...
    def close(self) -> None: ...


class Engine:
    """Owns the model's memory on the device. One thread at a time.

    sizes: which steps are planned. n_ubatch: most tokens of one, where that is not as suits the device.

    Where the model has n_window_rows, its caches of layers with a window are rings, which hold the last so many tokens
    of a sequence: go on only behind what was read, or from a position that CacheSlot.holds.
    """

    def __init__(
        self,
        model: Architecture,
        device: Device,
        level: int = 3,
        progress: Progress | None = None,
        n_ubatch: int | None = None,
        foresee: "Callable[[Engine], Foresight] | None" = None,
    ) -> None:
        """foresee: who is to plan sizes ahead, from before weights are brought to the device."""
        self.model, self.device = model, device
        self._own_sizes = self._within_rings(sizes_that_fit(model, device))
        self.configure(level, n_ubatch)
        self.last: Ready | None = None  # what was asked for latest
        self._ready: OrderedDict[tuple[int, bool, StepShape], Ready] = OrderedDict()  # by level and replay, latest last
        self._resting: dict[int, Storage] = {}  # logits of steps that leave them on the device, by their rows
        self._compiles = False
        self._progress = progress or (lambda _what, _done, _total: None)
        device.on_compile = lambda done, total: self._progress("compiling", done, total)
        self.planning, self.loaded = Lock(), Event()  # has memory for weights and states?
        self.foresight = foresee(self) if foresee else None
        try:
            self._upload()
        except BaseException:
            self.stop_foresight()
            raise

    def configure(self, level: int, n_ubatch: int | None = None, replay: bool = True) -> None:
        """Plan at another level or for other sizes from now on; weights, states and the programs so far stay.

        Without replay every step builds, plans and records its graph anew, as runtimes without a plan do. Steps are no
        longer than the model's capacity says where caches are rings.
        """
        self.level, self.replay = level, replay
        self.sizes = self._within_rings(self._own_sizes.up_to(n_ubatch)) if n_ubatch else self._own_sizes

    def _within_rings(self, sizes: StepSizes) -> StepSizes:
        most = self.model.capacity.n_step
        return sizes.up_to(most) if self.model.n_window_rows and most < sizes.most else sizes

    def reset(self, slot: int) -> None:
        """Forget the sequence in a slot."""
        for s in self.model.states:
            self.device.write(s, np.zeros(s.n_elements // s.shape[0], np.float32), row=slot)

    def prompt(
        self,
        slot: int,
        pos: int,
        ids: Sequence[int],
        every: bool = False,
        state_slot: int | None = None,
        hidden: bool = False,
    ) -> np.ndarray:
        """Run a sequence's next tokens in chunks: logits of the last, [1, n_vocab], or of every one, [n, n_vocab].

        state_slot: of the recurrent states, by default as that of the caches. hidden: rows behind the last norm
        instead, [.., width], which is all that models have whose tokens see those after them; these take all at once.
        """
        self._check(ids, pos)
        rows, at = [], 0
        while at < len(ids):
            size = self.sizes.next(len(ids) - at) if self.model.causal else self.sizes.whole(len(ids))
            part = ids[at : at + size]
            last = at + len(part) == len(ids)
            chunk = Chunk(slot, pos + at, part, state_slot=state_slot)
            made = self.step([chunk], size, every, wants=every or last, hidden=hidden)
            rows += [made] if every or last else []
            at += len(part)
        return np.concatenate(rows)

    def step(
        self,
        chunks: Sequence[Chunk],
        n_tokens: int = 1,
        every: bool = False,
        wants: bool = True,
        hidden: bool = False,
    ) -> np.ndarray:
        """One run for chunks of different slots, none longer than n_tokens: logits of each chunk's last token, or of
        every token, in the chunks' order; where they are not wanted they may be 0. Either all chunks bring embeddings
        or none does."""
        if every:
            wanted = [b * n_tokens + t for b, c in enumerate(chunks) for t in range(len(c.ids))]
        else:
            wanted = [b * n_tokens + len(c.ids) - 1 for b, c in enumerate(chunks)]
        rows = _embeddings(chunks, n_tokens)
        ready = self.ready(self.step_shape(chunks, n_tokens, every, rows is not None, hidden))
        filled = ready.inputs.fill([chunks], self.model.capacity.n_ctx, [] if every else wanted, wants=wants)
        self.device.write(ready.inputs.storage, filled)
        if rows is not None:
            self.device.write(ready.plan.graph.inputs["embeddings"].storage, rows)
        ready.program.run()
        self.ran()
        logits = ready.program.read(ready.output)
        return logits[wanted] if every else logits

    def step_shape(
        self, chunks: Sequence[Chunk], n_tokens: int, every: bool, embeddings: bool, hidden: bool
    ) -> StepShape:
        causal = self.model.causal
        return StepShape(
            ((len(chunks), n_tokens),),
            self.kv_size(max(c.pos + len(c.ids) for c in chunks)),
            len(chunks) * (n_tokens if every else 1),
            embeddings=embeddings,
            hidden=hidden or not causal,
            whole=not causal,
        )

    def ready(self, shape: StepShape) -> Ready:
        """The program for a step size, compiled on first use. Of more than MOST_READY the ones that were not asked for
        for longest go."""
        key = self.level, self.replay, shape
        if not self.replay and key in self._ready:
            self.drop(self._ready.pop(key))
        if key not in self._ready:
            while len(self._ready) >= MOST_READY:
                self.drop(self._ready.popitem(last=False)[1])
            self._ready[key] = self.compile(shape)
        self._ready.move_to_end(key)
        self.last = self._ready[key]
        return self.last

    def is_planned(self, shape: StepShape) -> bool:
        """Is it ready at once?"""
        return (self.level, self.replay, shape) in self._ready

    def planned(self) -> Iterator[StepShape]:
        """The sizes that are ready at once."""
        return (shape for level, replay, shape in self._ready if (level, replay) == (self.level, self.replay))

    def prepare(self, shape: StepShape) -> Prepared:
        """Plan a size. Any thread may, beside steps, where logits are not to rest; one plans at a time."""
        logits = self._place_to_rest(shape)
        with self.planning, uncollected():
            return prepare(self.model, shape, self.level, self.device.supports, logits)

    def finish(self, prepared: Prepared) -> Ready:
        """A program of it; beside steps where Device.compiles_beside."""
        inputs, plan = prepared.inputs, prepared.plan
        self.device.alloc(plan.storages(Kind.INPUT))
        (output,) = plan.graph.outputs.values()
        return Ready(inputs, plan, self.device.compile(plan), output)

    def stop_foresight(self) -> None:
        """Nothing is planned ahead any more."""
        self.loaded.set()
        if self.foresight:
            self.foresight.close()
        self.foresight = None

    def close(self) -> None:
        """Drop every program; the next step plans anew."""
        self.stop_foresight()
        for ready in self._ready.values():
            self.drop(ready)
        self._ready.clear()
        self.device.free(self._resting.values())
        self._resting.clear()
        self.last = None

    def drop(self, ready: Ready) -> None:
        """Give back what compile() made."""
        ready.program.close()
        self.device.free(ready.plan.storages(Kind.INPUT))

    def compile(self, shape: StepShape) -> Ready:
        """As ready(), but made anew and the caller's to drop."""
        self._say_compiling(0, 0)
        made = (self.foresight.take(shape) if self.foresight else None) or self.prepare(shape)
        made = made if isinstance(made, Ready) else self.finish(made)
        self._compiles = self.device.compiles and self.device.info.is_software  # whose drivers do so at the first run
        self._say_compiling(*((0, 0) if self._compiles else (1, 1)))
        return made

    def _say_compiling(self, done: int, total: int) -> None:
        if self.device.compiles:
            self._progress("compiling", done, total)

    def _place_to_rest(self, shape: StepShape) -> Storage | None:
        if not shape.rests:
            return None
        if shape.n_out not in self._resting:
            made = Storage("logits", Kind.STATE, DType.F32, (shape.n_out, self.model.params.n_vocab))
            self.device.alloc([made])
            self._resting[shape.n_out] = made
        return self._resting[shape.n_out]

    def ran(self) -> None:
        """To be told that a run is over, and with it all compiling."""
        if self._compiles:
            self._compiles = False
            self._progress("compiling", 1, 1)

    def kv_size(self, needed: int) -> int:
        """The planned number of keys for positions below `needed`."""
        size = KV_SIZE
        while size < needed:
            size *= 2
        return min(size, self.model.capacity.n_ctx)

    def _upload(self) -> None:
        """By several threads: one reads at a seventh of what a device takes, and packs at less."""
        uploads, total, done = self.model.weights.uploads, self.model.weights.nbytes, 0
        self.device.alloc([*(u.storage for u in uploads), *self.model.caches, *self.model.states])
        self.loaded.set()
        pool = ThreadPoolExecutor(min(N_READERS, os.cpu_count() or 1))
        try:
            for upload, _ in zip(uploads, pool.map(self._send, uploads), strict=True):
                done += upload.storage.nbytes
                self._progress("loading", done, total)
        finally:
            pool.shutdown(cancel_futures=True)

    def _send(self, upload: Upload) -> None:
        for row, data in upload.pieces():
            self.device.write(upload.storage, data, row)

    def _check(self, ids: Sequence[int], pos: int) -> None:
        if not len(ids):
            raise UsageError("ids: no tokens to evaluate, expected at least 1")
        if pos + len(ids) > self.model.capacity.n_ctx:
            raise UsageError(
                f"ids: {pos + len(ids)} tokens do not fit a context of {self.model.capacity.n_ctx} (n_ctx)"
            )
        if bad := next((i for i in ids if not 0 <= i < self.model.params.n_vocab), None):
            raise UsageError(f"ids: token {bad}, expected 0 to {self.model.params.n_vocab - 1}")


def _embeddings(chunks: Sequence[Chunk], n_tokens: int) -> np.ndarray | None:
    """The chunks' embeddings as rows of a step, [n_seqs * n_tokens, width], padded with zeros."""
    brought = [c.embeddings for c in chunks if c.embeddings is not None]
    if not brought:
        return None
    if len(brought) != len(chunks):
        raise UsageError(f"chunks: {len(brought)} of {len(chunks)} bring embeddings, expected all or none")
    rows = np.zeros((len(chunks), n_tokens, brought[0].shape[-1]), np.float32)
    for row, part in zip(rows, brought, strict=True):
        row[: len(part)] = part
    return rows
