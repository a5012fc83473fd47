"""Several workers behind one queue."""

import asyncio
import os
import signal

import pytest
from vkrun.runtime.server.jobs import Progress
from vkrun.tests.server.working import done, events, job, run, tokens, until, working


def test_two_workers_share_jobs_and_each_reads_on_where_it_read() -> None:
    async def test() -> None:
        async with working(n_replicas=2) as workers:
            await until(lambda: all(w.state == "ok" for w in workers.health().workers))
            asked = [job(i, 130, 6) for i in range(4)]
            first = await asyncio.gather(*(events(workers, each) for each in asked))
            assert workers.metrics().n_seats == 4
            again = [job(i, 130, 6) for i in range(4)]
            for before, each in zip(first, again, strict=True):
                made = await events(workers, each)
                assert tokens(made) == tokens(before) and done(made).usage.n_reused >= 64

    run(test)


@pytest.mark.full
def test_one_that_is_killed_leaves_the_others_serving() -> None:
    async def test() -> None:
        async with working(n_replicas=2, n_seqs=1) as workers:
            await until(lambda: all(w.state == "ok" for w in workers.health().workers))
            running = [asyncio.create_task(events(workers, job(i, n=200))) for i in (1, 2)]
            await until(lambda: sum(s.n_generated > 2 for s in workers.slots()) == 2)
            (victim,) = {w.pid for w in workers.health().workers[:1]}
            assert victim
            os.kill(victim, signal.SIGKILL)
            ended = [made[-1] for made in await asyncio.gather(*running)]
            assert sorted(type(e).__name__ for e in ended) == ["Done", "Failed"]
            assert workers.health().state == "ok" and workers.metrics().n_restarts == 1
            made = await events(workers, job(3, 70))
            assert done(made).reason == "length" and any(isinstance(e, Progress) for e in made)

    run(test)
