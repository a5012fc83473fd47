#!/usr/bin/env python3
"""What clients see of a server: tokens a second and the time to the first token, by how many ask at once.

    vkrun serve MODEL.gguf -np 33 -c 33792 &
    tools/reports/clients.py [--url http://127.0.0.1:8080] [--clients 1,8,32] [--prompt 512] [--tokens 64]
                             [--streams 8] [--prompts 512,2048] [--rounds 2]

For each number of clients a row: each asks --rounds times for --tokens tokens behind a prompt of --prompt random ones
(the same text is never asked twice); tokens made a second, prompts counted apart, and seconds to the first token. Then,
beside --streams answers under way, for each length of prompt the time to its first token, and the streams' gaps between
two tokens: without a prompt the median, and while one is read the median, the 95th of 100 and the largest. A first
round of each, in which steps are compiled, is not counted.
"""

import argparse
import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from statistics import median
from urllib.parse import urlsplit

_names = itertools.count()


async def pieces(args: argparse.Namespace, n_prompt: int, n: int) -> AsyncIterator[float]:
    """When each token came of an answer of n to a prompt that nobody has seen."""
    rng, at = random.Random(next(_names)), urlsplit(args.url)
    ids = [rng.randrange(5, args.ids) for _ in range(n_prompt)]
    asked = {"prompt": ids, "max_tokens": n, "temperature": 0, "ignore_eos": True, "stream": True}
    body = json.dumps({**asked, "cache_prompt": False}).encode()
    reads, writes = await asyncio.open_connection(at.hostname, at.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\n"
    writes.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    try:
        if b" 200 " not in (first := await reads.readline()):
            raise SystemExit(f"{first.decode().strip()}: {(await reads.read()).decode(errors='replace')[-300:]}")
        async for line in reads:
            if line.startswith(b"data: {") and b'"text"' in line:
                yield time.perf_counter()
            if line.startswith(b"data: [DONE]"):
                return
        raise ConnectionError("the server ended an answer")
    finally:
        writes.close()
        with suppress(ConnectionError):
            await writes.wait_closed()


async def client(args: argparse.Namespace, repeat: int, firsts: list[float], made: list[float]) -> None:
    for _ in range(repeat):
        start, came = time.perf_counter(), []
        async for now in pieces(args, args.prompt, args.tokens):
            came.append(now)
        firsts.append(came[0] - start)
        made += came


async def at_once(args: argparse.Namespace, n: int) -> None:
    await asyncio.gather(*(client(args, 1, [], []) for _ in range(n)))
    firsts: list[float] = []
    made: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(client(args, args.rounds, firsts, made) for _ in range(n)))
    taken, n_prompt = time.perf_counter() - start, n * args.rounds * args.prompt
    shown = f"{n * args.rounds * args.tokens / taken:.0f} | {n_prompt / taken:.0f}"
    print(f"| {n} | {shown} | {median(firsts):.3f} | {max(firsts):.3f} |", flush=True)


async def stream(args: argparse.Namespace, gaps: list[tuple[float, float]]) -> None:
    while True:
        last = 0.0
        async for now in pieces(args, 4, args.longest):
            gaps += [(now, now - last)] if last else []
            last = now


async def beside(args: argparse.Namespace, n: int, gaps: list[tuple[float, float]]) -> None:
    firsts, usual, others = [], [], []
    for i in range(args.rounds + 1):
        n_before = len(gaps)
        await asyncio.sleep(args.pause)
        start = time.perf_counter()
        came = [now async for now in pieces(args, n, 1)]
        end = came[0]
        await asyncio.sleep(0.3)
        if i:
            firsts.append(end - start)
            usual += [s for at, s in gaps[n_before:] if at < start]
            others += [s for at, s in gaps[n_before:] if start < at - s and at < end]
    u, b = median(usual), sorted(others) or [0.0]
    shown = [u, median(b), b[int(0.95 * (len(b) - 1))], b[-1]]
    told = " | ".join(f"{1e3 * s:.1f}" for s in shown)
    print(f"| {n} | {median(firsts):.3f} | {told} | {shown[2] / u:.2f} |", flush=True)


async def measure(args: argparse.Namespace) -> None:
    print(
        "| clients | tokens made a second | prompt tokens a second | first token, s | slowest |\n|---|---|---|---|---|"
    )
    for n in args.clients:
        await at_once(args, n)
    if not args.streams:
        return
    gaps: list[tuple[float, float]] = []
    running = [asyncio.create_task(stream(args, gaps)) for _ in range(args.streams)]
    while len(gaps) < 20 * args.streams:
        await asyncio.sleep(0.2)
    print(
        f"\n| prompt beside {args.streams} | first token, s | usual gap, ms | median | 95th | largest | 95th in usual |"
    )
    print("|---|---|---|---|---|---|---|")
    for n in args.prompts:
        await beside(args, n, gaps)
    for task in running:
        task.cancel()


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    for name, many in (("clients", [1, 8, 32]), ("prompts", [512, 2048])):
        parser.add_argument(f"--{name}", type=numbers, default=many)
    for name, one in (("prompt", 512), ("tokens", 64), ("streams", 8), ("rounds", 2), ("ids", 90), ("longest", 400)):
        parser.add_argument(f"--{name}", type=int, default=one)
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between two prompts beside streams")
    args = parser.parse_args()
    try:
        asyncio.run(measure(args))
    except OSError as error:
        raise SystemExit(f"{args.url}: {error}") from None


if __name__ == "__main__":
    main()
