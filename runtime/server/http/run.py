"""Runs the server: a port, the application, the workers behind it, and signals."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvicorn

from ... import models
from ...errors import UsageError, VkrunError
from ...gguf.file import GGUFFile
from ...gguf.keys import printable
from ...text.chat import ChatTemplate
from ...text.tokenizer import need_tokenizer, tokenizer_from_gguf
from ..worker.options import WorkerOptions
from ..worker.workers import Workers
from .app import make_app
from .options import Options
from .served import Card, SavesSlots, Served
from .served import Workers as AnyWorkers

DRAIN_S = 30.0  # for answers under way, once a signal came
MAX_CONNECTIONS = 2048
Say = Callable[[str], None]


def serve(alias: str | None, options: Options, workers: WorkerOptions, template: str | None, say: Say) -> int:
    """Until SIGINT or SIGTERM: answers under way may end then. n_ctx 0 of `workers`: as the model was trained."""
    with _listening(options) as listening:
        served = assembled(alias, options, workers, template)
        served.template.start()
        scheme = "http" if options.certificate is None else "https"
        host, port = listening.getsockname()[:2]
        say(f"{served.card.id} is loading; {scheme}://{f'[{host}]' if ':' in host else host}:{port} listens")
        try:
            return asyncio.run(_run(served, listening, say))
        finally:
            served.template.close()


def assembled(
    alias: str | None,
    options: Options,
    workers: WorkerOptions,
    template: str | None = None,
    make: Callable[[WorkerOptions], AnyWorkers] = Workers,
) -> Served:
    """What endpoints stand on: words of the model's file, and workers, which `make` makes of what they are to be."""
    with GGUFFile.open(workers.path) as f:
        model = models.open_model(f, models.Capacity(1))
        workers = replace(workers, n_ctx=workers.n_ctx or model.params.n_ctx_train)
        tokenizer = need_tokenizer(tokenizer_from_gguf(f.keys, model.params.n_vocab))
        chat = ChatTemplate.from_gguf(f.keys, tokenizer, template)
        made = make(workers)
        if options.slot_save_path is not None and not isinstance(made, SavesSlots):
            raise UsageError(f"--slot-save-path: {type(made).__name__} save no slots")
        return Served(made, _card(f, model, alias, workers), tokenizer, chat, options)


def _card(f: GGUFFile, model: models.Architecture, alias: str | None, workers: WorkerOptions) -> Card:
    return Card(
        id=alias or printable(f.get_str("general.name", Path(f.path).stem)),
        architecture=model.name,
        n_params=sum(int(np.prod(t.shape)) for t in f.tensors.values()),
        nbytes=sum(t.nbytes for t in f.tensors.values()),
        n_vocab=model.params.n_vocab,
        width=model.params.width,
        n_ctx=workers.n_ctx,
        n_ctx_train=model.params.n_ctx_train,
        n_slots=workers.n_seqs * workers.n_replicas,
        causal=model.causal,
        created=int(time.time()),
    )


@contextlib.contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    """The port, before anything is loaded: another server may have it."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        made = socket.create_server((options.host, options.port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        number = error.errno or 0  # of names that are none it is negative, and the text is their own
        why = os.strerror(number) if number > 0 else error.strerror
        raise VkrunError(f"{options.host}:{options.port}: {why}") from None
    with made:
        yield made


class _Server(uvicorn.Server):
    """Leaves signals to _run, which has workers to end after it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(served: Served) -> uvicorn.Config:
    options = served.options
    certificate, key = options.certificate or (None, None)
    return uvicorn.Config(
        make_app(served),
        http="h11",  # which reads heads within bounds
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=options.max_head + 4096,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(DRAIN_S),
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


async def _run(served: Served, listening: socket.socket, say: Say) -> int:
    server, workers = _Server(_config(served)), served.workers
    assert isinstance(workers, Workers)
    starting = asyncio.create_task(workers.start())

    def started(task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception():
            server.should_exit = True
        else:
            info = workers.info
            say(f"{served.card.id} is ready on {info.device} ({info.backend})")

    starting.add_done_callback(started)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, server, say)
    try:
        await server.serve(sockets=[listening])
    finally:
        await workers.close()
        starting.cancel()
    if not starting.cancelled() and starting.done() and (error := starting.exception()):
        raise error
    return 0


def _stop(server: uvicorn.Server, say: Say) -> None:
    if server.should_exit:
        server.force_exit = True
    else:
        say("answers under way may end; once more ends them")
    server.should_exit = True
