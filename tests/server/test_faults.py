"""What goes wrong in a worker's process or with who reads its answers: everyone is told, and the next are served."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.server.jobs import Done, Refused, Token
from vkrun.runtime.server.worker import process
from vkrun.runtime.server.worker import stream as streams
from vkrun.runtime.server.worker.workers import Workers
from vkrun.tests.server.working import done, events, failed, job, run, tokens, until, working

FAULTY = "vkrun.tests.server.faulty"


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes one happen at a worker's next step."""
    monkeypatch.setenv("FAULTS", str(tmp_path))
    return lambda name: (tmp_path / name).touch()


Answer = asyncio.Task[list]


@asynccontextmanager
async def at_work(n: int = 400, **how: Any) -> AsyncIterator[tuple[Workers, Answer, Answer]]:
    """One job that decodes n tokens, and one that waits behind it."""
    async with working(n_seqs=1, **how) as workers:
        first = asyncio.create_task(events(workers, job(1, n=n)))
        second = asyncio.create_task(events(workers, job(2, n=5)))
        await until(lambda: any(s.n_generated > 3 for s in workers.slots()))
        yield workers, first, second


def pid(workers: Workers) -> int:
    found = workers.health().workers[0].pid
    assert found
    return found


SAID = {
    "lost": "cpu: the device was lost",
    "memory": "cpu: 64 GiB wanted, 1 GiB free",
    "bug": "FileNotFoundError",
    "abort": "the worker was ended by signal 6",
    "kill": "the worker was ended by signal 9",
    "hang": "no sign of the worker for 2 s while it works",
}


@pytest.mark.full("memory", "bug", "abort")
@pytest.mark.parametrize("name", SAID)
def test_a_worker_that_fails_is_told_of_and_started_again(name: str, fault: Callable[[str], None]) -> None:
    async def test() -> None:
        async with at_work(step_seconds=2.0, module=FAULTY) as (workers, first, second):
            before = pid(workers)
            if name == "kill":
                os.kill(before, signal.SIGKILL)
            else:
                fault(name)
            made = await first
            assert failed(made).error == SAID[name] and (failed(made).retry_after or 0) >= 1 and len(tokens(made)) > 3
            assert workers.health().state in ("failed", "loading") and workers.health().error == SAID[name]
            with pytest.raises(Refused, match="no worker is ready") as refused:
                workers.submit(job(3))
            assert not refused.value.crowded and refused.value.retry_after >= 1
            assert done(await second).reason == "length"  # what waited was not lost
            assert workers.health().state == "ok" and not workers.health().error and pid(workers) != before
            assert done(await events(workers, job(1, n=5))).reason == "length"
            assert workers.metrics().n_restarts == 1 and workers.metrics().n_running == 0

    run(test)


@pytest.mark.full
def test_a_slow_step_is_no_hang(fault: Callable[[str], None]) -> None:
    async def test() -> None:
        async with at_work(step_seconds=3.0, module=FAULTY) as (workers, first, second):
            fault("slow")
            assert done(await second).reason == done(await first).reason == "length"
            assert workers.metrics().n_restarts == 0

    run(test)


@pytest.mark.full
def test_an_idle_worker_may_be_silent() -> None:
    async def test() -> None:
        async with working(step_seconds=0.5) as workers:
            await asyncio.sleep(1.5)
            assert done(await events(workers, job())).reason == "length" and workers.metrics().n_restarts == 0

    run(test)


@pytest.mark.full
def test_what_it_was_told_to_write_and_is_no_message_ends_it() -> None:
    async def test() -> None:
        async with working(module="vkrun.tests.server.babbling") as workers:
            assert done(await events(workers, job())).reason == "length"
            await until(lambda: workers.metrics().n_restarts == 1)
            await until(lambda: workers.health().state == "ok")
            assert done(await events(workers, job())).reason == "length"

    run(test)


def test_a_process_that_never_gets_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SLOWEST", 0.1)

    async def test() -> None:
        with pytest.raises(VkrunError, match="the worker ended with status 1"):
            async with working(module="vkrun.tests.server.no_module"):
                pass

    run(test)


def test_draining_lets_jobs_end_and_takes_no_more() -> None:
    async def test() -> None:
        async with at_work(n=100) as (workers, first, second):
            draining = asyncio.create_task(workers.drain(60))
            await asyncio.sleep(0)
            assert workers.health().state == "draining"
            with pytest.raises(Refused, match="shutting down"):
                workers.submit(job())
            await draining
            assert first.done() and second.done()
            assert done(first.result()).reason == done(second.result()).reason == "length"

    run(test)


@pytest.mark.full
def test_draining_ends_what_takes_too_long() -> None:
    async def test() -> None:
        async with at_work() as (workers, first, second):
            start = time.monotonic()
            await workers.drain(0.3)
            assert time.monotonic() - start < 5
            assert failed(await first).error == failed(await second).error == "the server is shutting down"

    run(test)


def test_a_worker_ignores_what_is_meant_for_its_group_and_goes_with_the_server() -> None:
    async def test() -> None:
        async with at_work(n=100) as (workers, first, _second):
            os.kill(pid(workers), signal.SIGTERM)
            os.kill(pid(workers), signal.SIGINT)
            assert done(await first).reason == "length"
            was = pid(workers)
            await workers.close()
            with pytest.raises(ProcessLookupError):
                os.kill(was, 0)

    run(test)


def test_who_reads_no_more_is_held_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HIGH", 8)
    monkeypatch.setattr(streams, "LOW", 2)

    async def test() -> None:
        async with working(n_seqs=1, stall_seconds=1.5) as workers:
            lazy = workers.submit(job(1, n=400))
            await until(lambda: lazy.is_held)
            others = [await events(workers, job(i, n=5)) for i in (2, 3)]  # though there is but one seat
            assert [done(made).reason for made in others] == ["length"] * 2
            n_held = len(lazy._unread)
            assert n_held < 8 + 64
            await until(lambda: workers.metrics().n_running == 0)
            assert failed([e async for e in lazy]).error == "nothing was read for 1.5 s"

    run(test)


@pytest.mark.full
def test_who_reads_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HIGH", 8)
    monkeypatch.setattr(streams, "LOW", 2)

    async def test() -> None:
        async with working(n_seqs=1, stall_seconds=5.0) as workers:
            wanted = tokens(await events(workers, job(1, n=60)))
            made = []
            async for event in workers.submit(job(1, n=60)):
                made.append(event)
                await asyncio.sleep(0.02)
            assert [e.id for e in made if isinstance(e, Token)] == wanted and isinstance(made[-1], Done)

    run(test)
