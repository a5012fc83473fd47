"""Jobs through a worker's process: what comes out is what the model makes alone."""

import asyncio
import math
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import vkrun
from vkrun.runtime.cli.serve_options import ServeOptions
from vkrun.runtime.cli.serving import _workers
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.errors import UsageError, VkrunError
from vkrun.runtime.server.jobs import Embedded, Event, Grammar, Job, Progress, Refused, Token
from vkrun.runtime.server.worker import main
from vkrun.runtime.server.worker.messages import Start
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.runtime.server.worker.workers import Workers
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.server.working import (
    GREEDY,
    MODEL,
    done,
    events,
    failed,
    job,
    run,
    text,
    tokenizer,
    tokens,
    until,
    working,
)


@cache
def model() -> vkrun.Model:
    return vkrun.load(MODEL, backend="cpu", n_ctx=512)


def alone(asked: Job, settings: SamplerSettings = GREEDY) -> list[int]:
    generation = model().generate_from(list(asked.ids), settings, asked.n_predict, ignore_eos=True)
    list(generation)
    return generation.ids


def test_many_at_once_make_what_each_makes_alone() -> None:
    asked = [job(i, 5 + 9 * i, 4 + i) for i in range(6)]

    async def test() -> None:
        async with working() as workers:
            made = await asyncio.gather(*(events(workers, each) for each in asked))
            for each, its in zip(asked, made, strict=True):
                assert tokens(its) == alone(each)
                assert text(its) == tokenizer().decode(tokens(its))
                assert done(its).reason == "length"
                assert done(its).usage.n_prompt == len(each.ids) and done(its).usage.n_generated == each.n_predict
                read = [e for e in its if isinstance(e, Progress)]
                assert read[-1].n_read == read[-1].n_prompt == len(each.ids)
            figures = workers.metrics()
            assert figures.n_jobs == {"length": 6} and figures.n_generated == sum(j.n_predict or 0 for j in asked)
            assert figures.n_queued == figures.n_running == 0 and figures.n_seats == 2
            assert workers.health().state == "ok" and all(s.job is None for s in workers.slots())

    run(test)


def test_seeds_penalties_biases_and_logarithms() -> None:
    drawn = SamplerSettings(temp=1.2, seed=7)
    punished = SamplerSettings(temp=0, repeat_penalty=1.5)
    biased = SamplerSettings(temp=0, logit_bias=((33, 1e6),))

    async def test() -> None:
        async with working() as workers:
            for chosen in (drawn, punished):
                asked = job(3, settings=chosen)
                assert tokens(await events(workers, asked)) == alone(asked, chosen)
            assert tokens(await events(workers, job(3, n=4, settings=biased))) == [33] * 4
            told = [e for e in await events(workers, job(3, n=5, n_logprobs=3)) if isinstance(e, Token)]
            assert [t.id for t in told] == alone(job(3, n=5))
            for t in told:
                assert t.own and t.id is not None and t.own.id == t.id == t.top[0].id and len(t.top) == 3
                assert t.own.data == tokenizer().token_bytes(t.id, special=True)
                assert t.own == t.top[0] and sum(math.exp(each.logprob) for each in t.top) <= 1

    run(test)


def test_stop_strings_and_end_tokens() -> None:
    whole = alone(job(5, n=20))
    said = tokenizer().decode(whole)
    stop = said[len(said) // 2 :][:3]

    async def test() -> None:
        async with working() as workers:
            made = await events(workers, job(5, n=20, stop=(stop,)))
            assert text(made) == said[: said.index(stop)] and done(made).reason == "stop"
            assert done(made).stopped_by == stop and done(made).usage.n_generated < 20
            end = min(tokenizer().eos_ids)
            biased = SamplerSettings(temp=0, logit_bias=((end, 1e6),))
            made = await events(workers, job(5, n=20, settings=biased, ignore_eos=False))
            assert text(made) == "" and done(made).reason == "stop" and done(made).usage.n_generated == 1

    run(test)


def test_grammars_bind_and_bad_ones_fail_alone() -> None:
    async def test() -> None:
        async with working() as workers:
            bad = asyncio.create_task(events(workers, job(2, grammar=Grammar("regex", "(a"))))
            made = await events(workers, job(2, n=30, grammar=Grammar("regex", "[0-9]{3}-x"), ignore_eos=False))
            assert re.fullmatch("[0-9]{3}-x", text(made)) and done(made).reason == "stop"
            assert failed(await bad).retry_after is None and workers.metrics().n_restarts == 0

    run(test)


def test_embeddings_and_answers_take_turns() -> None:
    """Texts have the seat beside an answer, one after the other, and its tokens come between them."""
    asked, texts = [job(3, 20, 60)], [job(10 + i, 8 + i, embed=True) for i in range(12)]
    expected = model().embed([list(each.ids) for each in texts])

    async def test() -> None:
        came: list[str] = []

        async def one(workers: Workers, each: Job) -> list[Event]:
            made = []
            async for event in workers.submit(each):
                made.append(event)
                came.extend(["token"] * isinstance(event, Token) + ["text"] * isinstance(event, Embedded))
            return made

        async with working() as workers:
            made = await asyncio.gather(*(one(workers, each) for each in (*asked, *texts)))
            for each, its in zip(asked, made, strict=False):
                assert tokens(its) == alone(each)
            for its, row in zip(made[len(asked) :], expected, strict=True):
                assert np.allclose(its[0].values, row, atol=1e-5)
            ends = [i for i, what in enumerate(came) if what == "text"]
            assert len(ends) == len(texts) and "token" in came[ends[0] : ends[-1]]
            assert all(s.job is None for s in workers.slots())

    run(test)


def test_embeddings_are_those_of_the_model() -> None:
    (expected,) = model().embed([list(job(2).ids)])

    async def test() -> None:
        async with working() as workers:
            running = asyncio.create_task(events(workers, job(1, n=30)))
            made = await events(workers, job(2, embed=True))
            assert isinstance(made[0], Embedded) and done(made).usage.n_prompt == 12
            np.testing.assert_allclose(made[0].values, expected, rtol=1e-6)
            assert tokens(await running) == alone(job(1, n=30))

    run(test)


@pytest.mark.full
def test_a_second_turn_reads_what_is_new() -> None:
    async def test() -> None:
        async with working() as workers:
            first = job(1, 200, 10)
            answer = tokens(await events(workers, first))
            turn = job(9, 20, 5)
            made = await events(workers, type(turn)(turn.id, (*first.ids, *answer[:-1], *turn.ids), GREEDY, 5))
            assert done(made).usage.n_reused >= 200 and workers.metrics().n_reused >= 200
            again = await events(workers, job(1, 200, 10, cache_prompt=False))
            assert done(again).usage.n_reused == 0 and tokens(again) == answer

    run(test)


def test_slots_are_saved_restored_and_erased(tmp_path: Path) -> None:
    path = tmp_path / "slot.bin"

    async def test() -> None:
        async with working(n_replicas=2, n_seqs=1) as workers:
            await until(lambda: all(w.state == "ok" for w in workers.health().workers))
            first = job(1, 200, 10)
            answer = tokens(await events(workers, first))
            n = await workers.save(0, str(path))
            assert n >= 200 and await workers.erase(0) == n
            with pytest.raises(UsageError, match="slot: 2, expected 0 to 1"):
                await workers.save(2, str(path))
            with pytest.raises(VkrunError):
                await workers.restore(1, str(tmp_path / "none.bin"))
            assert await workers.restore(0, str(path)) == n
            made = await events(workers, job(1, 200, 10))
            assert tokens(made) == answer and done(made).usage.n_reused >= 128
            assert workers.metrics().n_restarts == 0

    run(test)


async def cancelled(workers: Workers, n_prompt: int, after: type[Event] | None) -> list[Event]:
    """A job that is cancelled after the first event of a kind; None: at once."""
    asked = job(4, n_prompt, 400)
    stream, made = workers.submit(asked), []
    if after is None:
        workers.cancel(asked.id)
    async for event in stream:
        made.append(event)
        if after and isinstance(event, after):
            workers.cancel(asked.id)
    return made


def test_cancelled_in_the_queue_while_reading_and_while_decoding() -> None:
    async def test() -> None:
        async with working(n_seqs=1, n_ctx=2048) as workers:
            made = await cancelled(workers, 1500, Progress)
            assert done(made).reason == "cancelled" and not tokens(made)
            assert max(e.n_read for e in made if isinstance(e, Progress)) <= 1024  # of chunks of 512
            made = await cancelled(workers, 5, Token)
            assert done(made).reason == "cancelled" and len(tokens(made)) < 40
            running = asyncio.create_task(events(workers, job(6, n=40)))
            await asyncio.sleep(0)
            made = await cancelled(workers, 5, None)
            assert done(made).reason == "cancelled" and len(made) == 1
            assert tokens(await running) == alone(job(6, n=40))
            assert workers.metrics().n_jobs == {"cancelled": 3, "length": 1}

    run(test)


@pytest.mark.full(0, 1)
@pytest.mark.parametrize("n_events", [0, 1, 5])
def test_a_client_that_goes_leaves_nothing_behind(n_events: int) -> None:
    async def test() -> None:
        async with working(n_seqs=1) as workers:
            stream = workers.submit(job(4, 300, 400))
            for _ in range(n_events):
                await anext(stream)
            await stream.aclose()
            assert tokens(await events(workers, job(6))) == alone(job(6))
            assert workers.metrics().n_running == workers.metrics().n_queued == 0

    run(test)


def test_what_is_not_taken() -> None:
    async def test() -> None:
        async with working(n_seqs=1, max_queue=3, max_queue_user=2) as workers:
            for bad in (job(ids=()), job(ids=(99999,)), job(ids=(-1,)), job(n_prompt=513)):
                with pytest.raises(UsageError, match="prompt"):
                    workers.submit(bad)
            streams = [workers.submit(job(i, n=60, user=user)) for i, user in enumerate("aaab")]
            with pytest.raises(Refused, match="2 requests of this user wait already") as crowded:
                workers.submit(job(user="a"))
            with pytest.raises(Refused, match="3 requests wait already") as full:
                workers.submit(job(user="c"))
            assert crowded.value.crowded and not full.value.crowded and full.value.retry_after >= 1
            assert workers.metrics().n_jobs == {"refused": 2}
            for stream in streams:
                await stream.aclose()

    run(test)


@pytest.mark.parametrize("max_gap", [None, 2.5])
def test_how_long_prompts_hold_up_who_decodes_is_told_the_scheduler(max_gap: float | None, monkeypatch) -> None:
    held: list[float | None] = []
    monkeypatch.setattr(Scheduler, "hold_gaps", lambda _self, gap: held.append(gap))
    options = _workers(ServeOptions(backend="cpu", max_gap=max_gap), str(MODEL))
    pipe: Any = SimpleNamespace(receive=lambda: Start(options, 0), send=lambda _message: None)
    with main._load(pipe):
        assert held == [max_gap]


def test_a_gap_shorter_than_usual_cannot_be_held() -> None:
    with pytest.raises(UsageError, match=r"max_gap: 0\.5, expected 1 to 1000"):
        WorkerOptions("model.gguf", max_gap=0.5)


def test_a_file_that_cannot_be_loaded() -> None:
    async def test() -> None:
        workers = Workers(WorkerOptions(str(Path(__file__))))
        with pytest.raises(VkrunError, match="GGUF"):
            await workers.start()
        assert workers.health().state == "failed"
        await workers.close()

    run(test)
