#!/usr/bin/env python3
"""What a prompt costs those that run: the time to its first token beside running streams, and the streams' gaps.

    tools/reports/gaps.py [--model M] [--backend B] [--streams 8] [--prompts 64,256,1024] [--repeat 3]

For each length of prompt a row: seconds to the first token alone and beside the streams, and of the streams' gaps
between two tokens the median without a prompt, and while one is read the median, the 90th of 100 and the largest. A
first round, in which steps are compiled, is not counted.
"""

import argparse
import asyncio
import itertools
import random
import time
from pathlib import Path
from statistics import median

from vkrun.runtime.model import BUNDLED
from vkrun.runtime.server.jobs import Job, Token
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.runtime.server.worker.workers import Workers
from vkrun.runtime.text.sampler import SamplerSettings

GREEDY = SamplerSettings(temp=0)
Gap = tuple[float, float]  # when it ended, and seconds


async def stream(workers: Workers, i: int, gaps: list[Gap]) -> None:
    """Tokens without end; where the context is full another answer begins."""
    for count in itertools.count():
        last, job = 0.0, Job(f"stream {i} {count}", (5 + i, 6, 7), GREEDY, ignore_eos=True, user=f"{i}")
        async for event in workers.submit(job):
            if isinstance(event, Token):
                now = time.perf_counter()
                gaps += [(now, now - last)] if last else []
                last = now


async def first_token(workers: Workers, name: str, n: int) -> float:
    """Seconds to the first token of a prompt of n tokens that nobody has seen."""
    rng, start = random.Random(name), time.perf_counter()
    job = Job(name, tuple(rng.randrange(5, 90) for _ in range(n)), GREEDY, 1, ignore_eos=True, cache_prompt=False)
    (seconds,) = [time.perf_counter() - start async for e in workers.submit(job) if isinstance(e, Token)]
    return seconds


async def measure(args: argparse.Namespace) -> None:
    longest = max(args.prompts)
    options = WorkerOptions(str(args.model), args.backend, n_ctx=args.n_ctx, n_seqs=args.streams + 1)
    assert longest < args.n_ctx
    workers = Workers(options)
    await workers.start()
    print(f"{workers.info.kind} on {workers.info.device}, {args.streams} streams")
    alone = {
        n: median([await first_token(workers, f"alone {i} {n}", n) for i in range(-1, args.repeat)][1:])
        for n in args.prompts
    }
    gaps: list[Gap] = []
    running = [asyncio.create_task(stream(workers, i, gaps)) for i in range(args.streams)]
    while len(gaps) < 20 * args.streams:
        await asyncio.sleep(0.5)
    print("| prompt | first token alone, s | beside | usual gap, ms | median | 90th | largest | times the usual |")
    print("|---|---|---|---|---|---|---|---|")
    for n in args.prompts:
        await row(workers, n, args.repeat, alone[n], gaps)
    for task in running:
        task.cancel()
    await workers.close()


async def row(workers: Workers, n: int, repeat: int, alone: float, gaps: list[Gap]) -> None:
    firsts, usual, beside = [], [], []
    for i in range(-1, repeat):
        n_before = len(gaps)
        await asyncio.sleep(3.0)
        start = time.perf_counter()
        first = await first_token(workers, f"{i} {n}", n)
        await asyncio.sleep(0.5)
        if i >= 0:
            firsts.append(first)
            usual += [s for end, s in gaps[n_before:] if end < start]
            beside += [s for end, s in gaps[n_before:] if start < end - s and end < start + first]
    b, u = sorted(beside) or [0.0], median(usual)
    shown = [u, median(b), b[int(0.9 * (len(b) - 1))], b[-1]]
    print(
        f"| {n} | {alone:.2f} | {median(firsts):.2f} | "
        + " | ".join(f"{1e3 * s:.0f}" for s in shown)
        + f" | {shown[2] / u:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--backend")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--n-ctx", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--prompts", type=lambda text: [int(n) for n in text.split(",")], default=[64, 256, 1024])
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
