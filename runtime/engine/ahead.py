"""Ahead: sizes of steps planned, their kernels made, and where a device can their programs, beside the steps that run,
in threads of their own."""

import os
import queue
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from .. import config
from ..errors import VkrunError
from ..models.step import StepShape
from .engine import Engine, Ready
from .planner import Planner, Prepared

N_MAKING = 4  # plans whose kernels are made at a time
MOST_WAITING = 16  # sizes that were wanted, are made and not yet taken
MOST_PLANNERS, CORES_A_PLANNER = 3, 4
TURN = 1e-4  # seconds for which another thread may keep the interpreter: a step wants it several times

Made = Prepared | Ready


def n_planners() -> int:
    """Processes that plan: as many as leave a machine to its steps."""
    return min(MOST_PLANNERS, max(1, (os.cpu_count() or 1) // CORES_A_PLANNER))


class Ahead:
    """What it has made waits until the engine takes it. One thread at a time calls it."""

    def __init__(self, engine: Engine, likely: Iterable[StepShape] = (), later: Iterable[StepShape] = ()) -> None:
        """likely: what is planned by itself, the likeliest first. later: the same, while adopt() is called."""
        self._engine, self._planned_as = engine, (engine.level, engine.replay)
        n = n_planners()
        self._plans, self._programs = ThreadPoolExecutor(n, "plan"), ThreadPoolExecutor(1, "program")
        self._planners: queue.SimpleQueue[Planner] = queue.SimpleQueue()
        for _ in range(n):
            self._planners.put(Planner(engine.model))
        self._kernels = ThreadPoolExecutor(N_MAKING, "kernels")
        self._begun: dict[StepShape, Future[Made]] = {}
        self._queue: deque[tuple[StepShape, Future[Made]]] = deque()
        self._likely, self._later = deque(likely), deque(later)
        self._turn = sys.getswitchinterval()
        sys.setswitchinterval(min(TURN, self._turn))
        self._begin(*self._likely)

    def want(self, shape: StepShape) -> None:
        """Plan a size next, if nobody did."""
        if shape not in self._begun and not shape.rests and not self._engine.is_planned(shape):
            self._let_go()
            self._begin(shape)

    def begun(self, done: bool) -> list[StepShape]:
        """Those that are made and wait, or are under way."""
        if not done:
            return [shape for shape, made in self._begun.items() if made.running()]
        return [s for s, made in self._begun.items() if made.done() and not made.cancelled() and not made.exception()]

    def waiting(self) -> list[StepShape]:
        return [shape for shape, made in self._begun.items() if not made.running() and not made.done()]

    def is_over(self, shape: StepShape) -> bool:
        """Is a size that was wanted planned, or could it not be?"""
        return self._begun[shape].done() if shape in self._begun else True

    def adopt(self, seconds: float) -> bool:
        """Let the engine be ready for one more of the likely sizes, waiting for so long at most; False once there are
        no more of them. To be called while nothing else is to be done."""
        while self._likely and self._likely[0] not in self._begun:
            self._likely.popleft()
        self._begin_later()
        if not self._likely:
            return False
        if wait([self._begun[self._likely[0]]], seconds).done:
            shape = self._likely.popleft()
            try:
                self._engine.ready(shape)
            except VkrunError as error:  # no room, say; a step will tell where it is more
                config.note(1, f"planned ahead no further: {error}")
                self._likely.clear()
                self._later.clear()
        return True

    def _begin_later(self) -> None:
        """One at least that adopt() can wait for, and as many as there is room for."""
        while self._later and not (self._likely and self.waiting()):
            shape = self._later.popleft()
            if shape not in self._begun and not self._engine.is_planned(shape):
                self._begin(shape)
                self._likely.append(shape)

    def close(self) -> None:
        """Wait for what is under way, and drop what nobody took."""
        for pool in (self._plans, self._kernels, self._programs):
            pool.shutdown(cancel_futures=True)
        sys.setswitchinterval(self._turn)
        while not self._planners.empty():
            self._planners.get().close()
        self._drop(self.begun(done=True))
        self._begun.clear()

    def take(self, shape: StepShape) -> Made | None:
        """What was made for a size, once that is done; None where it was not begun."""
        made = self._begun.get(shape)
        if made is None or made.cancel() or self._planned_as != (self._engine.level, self._engine.replay):
            return None
        failed = made.exception()
        self._begun.pop(shape)
        return None if failed else made.result()

    def _let_go(self) -> None:
        """Of what was wanted and waits, what waits for longest."""
        waiting = [shape for shape in self.begun(done=True) if shape not in self._likely]
        self._drop(waiting[:-MOST_WAITING])

    def _drop(self, shapes: Iterable[StepShape]) -> None:
        for made in [self._begun.pop(shape).result() for shape in shapes]:
            if isinstance(made, Ready):
                self._engine.drop(made)

    def _begin(self, *shapes: StepShape) -> None:
        """Before all that waits."""
        self._begun |= {shape: Future() for shape in shapes}
        self._queue.extendleft((shape, self._begun[shape]) for shape in reversed(shapes))
        for _ in shapes:
            self._plans.submit(self._plan)

    def _plan(self) -> None:
        shape, made = self._queue.popleft()
        if not made.set_running_or_notify_cancel():
            return
        try:
            prepared = self._prepare(shape)
        except Exception as error:  # whoever needs it will see
            made.set_exception(error)
        else:
            self._kernels.submit(self._make_kernels, prepared, made)

    def _prepare(self, shape: StepShape) -> Prepared:
        """By a process of its own, where what the device supports can be said there, and processors are not what steps
        run on."""
        engine, device = self._engine, self._engine.device
        rules = None if device.info.is_software else device.rules()
        if rules is None:
            return engine.prepare(shape)
        planner = self._planners.get()
        try:
            return planner.prepare(shape, engine.level, rules, engine.planning)
        except OSError as error:
            config.note(1, f"planned beside the steps: {error}")
            return engine.prepare(shape)
        finally:
            self._planners.put(planner)

    def _make_kernels(self, prepared: Prepared, made: "Future[Made]") -> None:
        device = self._engine.device
        try:
            device.make_kernels(prepared.plan)
        except Exception as error:
            made.set_exception(error)
            return
        config.note(2, f"planned ahead: {prepared.inputs.shape}")
        if device.compiles_beside:
            self._programs.submit(self._make_program, prepared, made)
        else:
            made.set_result(prepared)

    def _make_program(self, prepared: Prepared, made: "Future[Made]") -> None:
        self._engine.loaded.wait()
        try:
            made.set_result(self._engine.finish(prepared))
        except Exception as error:
            made.set_exception(error)
