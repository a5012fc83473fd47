"""Planner: a process beside this one that plans sizes of steps. Planning is Python alone, and two threads of one
interpreter take turns; a plan that comes ready costs this one a twentieth of its making."""

import gc
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, BinaryIO

from ...backends.base import Rules
from .. import config
from ..errors import VkrunError
from ..ir.graph import Node
from ..ir.plan import Plan, lean_plan
from ..ir.tensor import Kind, Storage
from ..models.architecture import Architecture
from ..models.step import StepInputs, StepShape

N_LENGTH = 8  # bytes that say how many follow
LASTING = Kind.WEIGHT, Kind.CONSTANT, Kind.STATE
ENDING_SECONDS = 5.0

Refusal = Callable[[Node], str]


@dataclass(frozen=True)
class Prepared:
    """A step size planned."""

    inputs: StepInputs
    plan: Plan


def prepare(model: Architecture, shape: StepShape, level: int, refusal: Refusal, logits: Storage | None) -> Prepared:
    """refusal: as lean_plan's; logits: as StepInputs's."""
    inputs = model.inputs(shape, logits)
    return Prepared(inputs, lean_plan(model.graph(inputs), level, refusal))


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector, which would look through all plans there are, again and again: a plan is many objects and
    no circles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Planner:
    """One thread at a time. The process is begun when first asked, and ends with this one, however that ends."""

    def __init__(self, model: Architecture) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._lasting: list[Storage] = []

    def prepare(self, shape: StepShape, level: int, rules: Rules, turn: threading.Lock) -> Prepared:
        """What prepare() makes here, over the model's own storages, and lowered. turn: is held while it is taken in.
        OSError where there is no such process, or it came to its end."""
        process = self._process or self._begin()
        _send(process.stdin, pickle.dumps((shape, level, rules)))
        data = _received(process.stdout)
        if not data:
            raise BrokenPipeError("the process that plans has ended")
        with turn, uncollected():
            made = _Reader(data, self._lasting).load()
        if isinstance(made, VkrunError):
            raise made
        return made

    def close(self) -> None:
        if process := self._process:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close() if pipe else None
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None

    def _begin(self) -> "subprocess.Popen[bytes]":
        words, env = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"], config.with_path(_places())
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, env=env, start_new_session=True)
        data, self._lasting = _written(self._model, [], grows=True)
        _send(self._process.stdin, pickle.dumps((self._lasting, data)))
        return self._process


class _Writer(pickle.Pickler):
    """Storages that last are named by their place in a list, which both sides have."""

    dispatch_table = {MappingProxyType: lambda attrs: (_proxy, (dict(attrs),))}  # noqa: RUF012

    def __init__(self, f: BinaryIO, lasting: list[Storage], grows: bool) -> None:
        super().__init__(f, pickle.HIGHEST_PROTOCOL)
        self.lasting, self._grows = lasting, grows
        self._numbers = {s: i for i, s in enumerate(lasting)}

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Storage) or obj.kind not in LASTING:
            return None
        if self._grows and obj not in self._numbers:
            self._numbers[obj] = len(self.lasting)
            self.lasting.append(obj)
        return self._numbers[obj]


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, lasting: Sequence[Storage]) -> None:
        super().__init__(io.BytesIO(data))
        self.persistent_load = lasting.__getitem__


def _proxy(attrs: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(attrs)


def _written(what: object, lasting: list[Storage], grows: bool = False) -> tuple[bytes, list[Storage]]:
    """grows: storages that are not yet in the list come to its end; else KeyError."""
    f = io.BytesIO()
    writer = _Writer(f, lasting, grows)
    writer.dump(what)
    return f.getvalue(), writer.lasting


def _places() -> str:
    return os.pathsep.join(path for path in sys.path if path)


def _send(pipe: Any, data: bytes) -> None:
    pipe.write(len(data).to_bytes(N_LENGTH, "little") + data)
    pipe.flush()


def _received(pipe: Any) -> bytes:
    """Empty where no more comes."""
    length = pipe.read(N_LENGTH)
    n = int.from_bytes(length, "little") if len(length) == N_LENGTH else 0
    data = pipe.read(n)
    return data if len(data) == n else b""


def main() -> None:
    """Plan what is asked for, until nobody asks any more. Whatever is wrong but the model ends it: who asked then plans
    by itself."""
    reads, writes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(OSError):
        lasting, model = pickle.loads(_received(reads))
        model = _Reader(model, lasting).load()
        gc.freeze()
        while asked := _received(reads):
            with uncollected():
                _send(writes, _answer(model, lasting, *pickle.loads(asked)))


def _answer(model: Architecture, lasting: list[Storage], shape: StepShape, level: int, rules: Rules) -> bytes:
    try:
        made = prepare(model, shape, level, rules.supports, None)
        made = replace(made, plan=replace(made.plan, lowered=rules.lower(made.plan)))
    except VkrunError as error:
        made = error
    return _written(made, lasting)[0]
