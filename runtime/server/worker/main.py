"""A worker's process: loads a model onto a device, and works until the server's process tells it to stop or is gone."""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import NoReturn

from ....backends import registry
from ... import config
from ...engine.likely import foresee
from ...errors import VkrunError
from ...model import Model, load
from .messages import Died, Loading, Ready, Start, Stop
from .options import WorkerOptions
from .pipe import Pipe, own_pipe
from .work import Work

CLOSING_SECONDS = 10.0


def main() -> None:
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)  # they go to the whole group, of which the server's process ends this one
    pipe = own_pipe()
    try:
        model = _load(pipe)
    except BaseException as error:
        _die(pipe, error, own=isinstance(error, VkrunError))
    pipe.send(Ready(model.info))
    try:
        work(model, pipe)
    except BaseException as error:
        _die(pipe, error)


def _die(pipe: Pipe, error: BaseException, own: bool = False) -> NoReturn:
    """Without closing the device: what that does to a lost one nobody knows."""
    config.note(1, "".join(traceback.format_exception(error)))
    with suppress(OSError):
        pipe.send(Died(_told(error), own))
    sys.stderr.flush()
    os._exit(1)


def _load(pipe: Pipe) -> Model:
    start = pipe.receive()
    assert isinstance(start, Start)
    options = start.options
    backend, device = place(options, start.index)
    made = load(
        options.path,
        backend,
        device,
        options.n_ctx,
        options.n_seqs,
        options.opt,
        lambda what, done, total: pipe.send(Loading(what, done, total)),
        options.cache_ram,
        swa_full=options.swa_full,
        cache_type_k=options.cache_type_k,
        cache_type_v=options.cache_type_v,
        foresee=foresee,
    )
    made.scheduler.hold_gaps(options.max_gap)
    made.scheduler.runner.get_ready()
    return made


def place(options: WorkerOptions, index: int) -> tuple[str | None, str | int | None]:
    """The backend and device of one of several replicas: all that are as good as the best take turns."""
    if options.n_replicas == 1 or options.device is not None:
        return options.backend, options.device
    backend, best = registry.choose(options.backend, None)
    alike = [d for d in backend.devices() if not d.missing and d.kind == best.kind] or [best]
    chosen = alike[index % len(alike)]
    return chosen.backend, chosen.index


def work(model: Model, pipe: Pipe) -> None:
    doing = Work(model, pipe)
    threading.Thread(target=_hear, args=(doing, pipe), daemon=True).start()
    doing.run()
    model.close()


def _hear(doing: Work, pipe: Pipe) -> None:
    with suppress(OSError, VkrunError):
        while command := pipe.receive():
            doing.hear(command)
    doing.hear(Stop())
    threading.Event().wait(CLOSING_SECONDS)
    os._exit(1)  # the server's process is gone, and a step does not end


def _told(error: BaseException) -> str:
    """In a line; what is not ours may tell of paths."""
    return " ".join(str(error).split()) if isinstance(error, VkrunError) else type(error).__name__


if __name__ == "__main__":
    main()
