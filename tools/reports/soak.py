#!/usr/bin/env python3
"""Many clients at once for long, with cancels, clients that go and workers that are killed: nothing lost or mixed up.

    tools/reports/soak.py [--model M] [--backend B] [--clients 32] [--seconds 600] [--kill-every 120] [--replicas 1]
        [--cache-ram 16]

First each prompt's answer is made alone. Then each client asks again and again, for answers of random length; some are
cancelled, some left unread. A worker's memory rises until all prompts and answers are parked, or as many as --cache-ram
lets it keep. What comes is held against the answer made alone; after a kill clients ask anew. Printed
are a line every 15 s and, at the end, a JSON object; the exit code counts what was not as it should be. --bench: also
the tokens a second that decoding alone makes at the same width.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import vkrun
from vkrun.runtime.bench.measure import Test
from vkrun.runtime.bench.measure import run as run_test
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.model import BUNDLED
from vkrun.runtime.server.jobs import Done, Failed, Job, Refused, Token
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.runtime.server.worker.workers import Workers
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf

GREEDY, LONGEST, N_CTX = SamplerSettings(temp=0), 48, 256
SECONDS_TO_END = 60.0
LINES = (
    *("def fibonacci(n):", "import os\n", "class Stack:\n    def", "for i in range(", "# read a file", "while True:"),
    *("try:\n    x =", "return sorted(", "from pathlib import", "if __name__ ==", "with open(path) as", "assert len("),
)


@dataclass
class Prompt:
    ids: tuple[int, ...]
    answer: list[int] = field(default_factory=list)


@dataclass
class Seen:
    """What came of all jobs; wrong: the first few answers that were not those made alone."""

    ends: Counter[str] = field(default_factory=Counter)
    n_prompt: int = 0
    n_made: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)  # s, MiB of the server, of all workers


def prompts(path: Path, rng: random.Random) -> list[Prompt]:
    """Of random lengths; some begin alike."""
    with GGUFFile.open(str(path)) as f:
        tokenizer = need_tokenizer(tokenizer_from_gguf(f.keys))
    texts = ["\n".join(rng.choices(LINES, k=k)) for k in (1, 1, 2, 4, 8, 12)]
    texts += [texts[-1] + "\n" + line for line in LINES[:4]] + [texts[-2] + "\n" + line for line in LINES[:4]]
    return [Prompt(tuple(tokenizer.encode(text))[: N_CTX - LONGEST]) for text in texts]


async def one(workers: Workers, name: str, p: Prompt, n: int, stop_after: int | None, leave: bool, seen: Seen) -> None:
    """A job, which is cancelled or left after so many tokens; stop_after None: read to its end."""
    made: list[int] = []
    stream = workers.submit(Job(name, p.ids, GREEDY, n, user=name.split()[0], ignore_eos=True))
    end = "left"
    try:
        async for event in stream:
            if isinstance(event, Token) and event.id is not None:
                made.append(event.id)
            if isinstance(event, Done | Failed):
                end = event.reason if isinstance(event, Done) else "failed"
            if stop_after is not None and len(made) == stop_after:
                if leave:
                    break
                workers.cancel(name)
    finally:
        await stream.aclose()
    seen.ends[end] += 1
    seen.n_made += len(made)
    seen.n_prompt += len(p.ids)
    whole = end != "length" or len(made) == n
    if (made != p.answer[: len(made)] or not whole) and len(seen.wrong) < 10:
        seen.wrong.append(f"{name}, {end}: {made}, alone {p.answer[:n]}")


async def client(i: int, workers: Workers, asked: list[Prompt], until: float, seen: Seen) -> None:
    rng, count = random.Random(i), 0
    while time.monotonic() < until:
        p, n, kind = rng.choice(asked), rng.randint(1, LONGEST), rng.random()
        stop_after = rng.randint(0, n) if kind < 0.2 else None
        count += 1
        try:
            await one(workers, f"client{i} {count}", p, n, stop_after, kind < 0.1, seen)
        except Refused as refused:
            seen.ends["refused"] += 1
            await asyncio.sleep(min(refused.retry_after, 1.0))


def resident(pid: int) -> float:
    """MiB."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return 0.0


def pids(workers: Workers) -> list[int]:
    return [w.pid for w in workers.health().workers if w.pid and w.state == "ok"]


async def look(workers: Workers, start: float, seen: Seen) -> None:
    while True:
        await asyncio.sleep(15)
        now = time.monotonic() - start
        seen.memory.append((now, resident(os.getpid()), sum(map(resident, pids(workers)))))
        print(f"{now:5.0f} s, {seen.n_made} tokens, {dict(seen.ends)}, MiB {seen.memory[-1][1:]}", flush=True)


async def kill(workers: Workers, every: float) -> None:
    rng = random.Random(99)
    while True:
        await asyncio.sleep(every)
        if found := pids(workers):
            os.kill(rng.choice(found), signal.SIGKILL)


async def alone(workers: Workers, asked: list[Prompt]) -> None:
    for i, p in enumerate(asked):
        job = Job(f"alone {i}", p.ids, GREEDY, LONGEST, ignore_eos=True, cache_prompt=False)
        p.answer = [e.id async for e in workers.submit(job) if isinstance(e, Token) and e.id is not None]


async def left_over(workers: Workers) -> list[str]:
    """What still runs or waits though nobody asks any more; a worker hears that a client left a step later."""
    until = time.monotonic() + SECONDS_TO_END
    while left := [f"slot {s.id}: {s.job}" for s in workers.slots() if s.job] + unseated(workers):
        if time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    return left


def unseated(workers: Workers) -> list[str]:
    counts = workers.metrics()
    found = {"running": counts.n_running, "queued": counts.n_queued}
    return [f"{n} {what}" for what, n in found.items() if n]


async def soak(args: argparse.Namespace) -> dict[str, object]:
    n_seqs = args.clients // args.replicas
    sizes = {"n_ctx": N_CTX, "n_seqs": n_seqs, "n_replicas": args.replicas, "cache_ram": args.cache_ram}
    options = WorkerOptions(str(args.model), args.backend, **sizes)
    workers, asked, seen = Workers(options), prompts(args.model, random.Random(1)), Seen()
    await workers.start()
    await alone(workers, asked)
    warm = time.monotonic() + args.warmup
    await asyncio.gather(*(client(i + 1000, workers, asked, warm, Seen()) for i in range(args.clients)))
    start = time.monotonic()
    tasks = [asyncio.create_task(look(workers, start, seen))]
    tasks += [asyncio.create_task(kill(workers, args.kill_every))] if args.kill_every else []
    until = start + args.seconds
    await asyncio.gather(*(client(i, workers, asked, until, seen) for i in range(args.clients)))
    taken = time.monotonic() - start
    for task in tasks:
        task.cancel()
    made = figures(args, workers, seen, taken, await left_over(workers))
    await workers.close()
    return made


def figures(args: argparse.Namespace, workers: Workers, seen: Seen, taken: float, left: list[str]) -> dict[str, object]:
    return {
        "clients": args.clients,
        "seconds": round(taken, 1),
        "device": workers.info.device,
        "jobs": dict(seen.ends),
        "restarts": workers.metrics().n_restarts,
        "wrong": seen.wrong,
        "left": left,
        "generated_per_s": round(seen.n_made / taken, 2),
        "total_per_s": round((seen.n_made + seen.n_prompt) / taken, 2),
        "memory_mib": [[round(x) for x in row] for row in seen.memory],
    }


def bench(args: argparse.Namespace) -> float:
    """Tokens a second that decoding alone makes, as `vkrun bench --parallel` measures them."""
    with vkrun.load(args.model, args.backend, n_ctx=N_CTX, n_seqs=args.clients) as model:
        test = Test(0, LONGEST, 0, args.clients)
        run_test(model.engine, test)
        return test.n_tokens * 1e9 / min(run_test(model.engine, test) for _ in range(3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--backend")
    for name, value in (("clients", 32), ("replicas", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, number in (("seconds", 600.0), ("warmup", 0.0), ("kill-every", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=number)
    parser.add_argument("--cache-ram", type=int, help="MiB for what sequences left, as vkrun serve takes it")
    parser.add_argument("--bench", action="store_true")
    args = parser.parse_args()
    try:
        made = asyncio.run(soak(args))
    except VkrunError as error:
        print(error, file=sys.stderr)
        return 1
    if args.bench:
        made["bench_per_s"] = round(bench(args), 2)
    print(json.dumps(made, indent=1))
    return len(made["wrong"]) + len(made["left"])  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
