"""Work: what a worker does between its commands: steps of the scheduler, and what comes of them for each job."""

import queue
from collections import deque
from pathlib import Path

from ...errors import BackendError, TextError, VkrunError
from ...model import Model
from ..jobs import Done, Embedded, Event, Failed, Job, Timings, Usage
from .answer import Answer
from .messages import Cancel, Command, Given, Hold, Run, SlotAct, SlotDone, Stop
from .pipe import Pipe

TURN = 0.02  # seconds until a command is looked for


class Work:
    """hear() is for the thread that reads commands, run() for the one that owns the device."""

    def __init__(self, model: Model, pipe: Pipe) -> None:
        self._model, self._pipe = model, pipe
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._answers: dict[str, Answer] = {}
        self._embeds: deque[Job] = deque()
        self._events: list[tuple[str, Event]] = []
        self._seats: tuple[tuple[int, str], ...] = ()
        self._stopped = False

    def hear(self, command: Command) -> None:
        """A job that is cancelled takes part in no further step, whatever else is to be done first."""
        answer = self._answers.get(command.id) if isinstance(command, Cancel) else None
        if answer:
            answer.sequence.end("stopped")
        self._commands.put(command)

    def run(self) -> None:
        """Until it is told to stop. Raises what makes the device unfit for more."""
        while True:
            self._obey()
            if self._stopped:
                return
            if self._embeds:
                self._embed(self._embeds.popleft())
            if self._goes_on():
                self._model.scheduler.step()
            self._give()

    def _goes_on(self) -> bool:
        return any(a.sequence.goes_on for a in self._answers.values())

    def _obey(self) -> None:
        """All commands that have come; the next one where there is nothing else to do."""
        idle = not self._embeds and not self._goes_on()
        if idle:
            self._model.scheduler.rest()
            while self._commands.empty() and self._model.scheduler.runner.adopt(TURN):
                pass
        while idle or not self._commands.empty():
            self._one(self._commands.get())
            idle = False

    def _one(self, command: Command) -> None:
        match command:
            case Run(job) if job.embed:
                self._embeds.append(job)
            case Run(job):
                self._join(job)
            case Cancel(id):
                self._cancel(id)
            case Hold(id, on) if id in self._answers:
                self._answers[id].held = on
            case SlotAct():
                self._pipe.send(self._slot(command))
            case Stop():
                self._stopped = True

    def _join(self, job: Job) -> None:
        try:
            sequence = self._model.sequence(
                list(job.ids),
                job.settings,
                job.n_predict,
                job.ignore_eos,
                job.n_logprobs,
                job.cache_prompt,
                job.grammar,
            )
            answer = Answer(job, sequence, self._model.tokenizer)
        except VkrunError as error:
            self._events.append((job.id, Failed(str(error))))
            return
        self._answers[job.id] = answer
        self._model.scheduler.join(sequence)

    def _cancel(self, id: str) -> None:
        if id in self._answers:
            self._answers[id].sequence.end("stopped")
        for job in [job for job in self._embeds if job.id == id]:
            self._embeds.remove(job)
            self._events.append((id, Done("cancelled", Usage(), Timings())))

    def _embed(self, job: Job) -> None:
        """All others wait, for the length of a text."""
        try:
            (row,) = self._model.embed([list(job.ids)], job.pooling)
        except (TextError, ValueError) as error:
            self._events.append((job.id, Failed(str(error))))
            return
        usage = Usage(n_prompt=len(job.ids))
        self._events += [(job.id, Embedded(tuple(row.tolist()))), (job.id, Done("stop", usage, Timings()))]

    def _slot(self, act: SlotAct) -> SlotDone:
        scheduler = self._model.scheduler
        try:
            match act.what:
                case "save":
                    n = scheduler.save_slot(act.slot, Path(act.path))
                case "restore":
                    n = scheduler.restore_slot(act.slot, Path(act.path))
                case "erase":
                    n = scheduler.erase_slot(act.slot)
        except VkrunError as error:
            if isinstance(error, BackendError):
                raise
            return SlotDone(act.n, 0, str(error))
        return SlotDone(act.n, n)

    def _give(self) -> None:
        """Tell what came of a step. Raises what ended a job and was not its own fault."""
        for id, answer in list(self._answers.items()):
            if answer.sequence.ended == "error":
                self._events.append((id, _failed(answer)))
            else:
                self._events += [(id, event) for event in answer.events()]
            if self._events and self._events[-1][0] == id and isinstance(self._events[-1][1], Done | Failed):
                del self._answers[id]
        seats = tuple((a.sequence.seat.cache.index, id) for id, a in self._answers.items() if a.sequence.seat)
        if self._events or seats != self._seats:
            self._pipe.send(Given(tuple(self._events), seats))
            self._seats, self._events = seats, []


def _failed(answer: Answer) -> Failed:
    error = answer.sequence.error
    assert error is not None
    if not isinstance(error, TextError):
        raise error
    return Failed(str(error))
