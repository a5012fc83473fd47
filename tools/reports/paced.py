#!/usr/bin/env python3
"""What clients would see of a server on a card that is not there (tests/pretend_card.py): no model, no device, seconds
of a processor.

    tools/reports/paced.py [--clients 8,32] [--prompt 512] [--tokens 128] [--rounds 2] [--again 1]
                           [--streams 8] [--prompts 512,1024] [--max-gap 2] [--steps]

The rows are those of clients.py. Behind each of them where the seconds went: steps of decoding, of prompts and of both,
plans that were waited for, states on their way. --steps: each of these as it came, as milliseconds, groups of sequences
x tokens as planned, and the tokens among them.
"""

import argparse
from statistics import median

from vkrun.tests.pretend_card import Server, Taken


def kind(t: Taken) -> str:
    if t.what != "step":
        return t.what
    sizes = [size for _, size in t.groups]
    return "both" if len(sizes) > 1 else "decoding" if sizes == [1] else "prompts"


def show(taken: list[Taken]) -> None:
    kinds: dict[str, list[float]] = {}
    for t in taken:
        kinds.setdefault(kind(t), []).append(t.seconds)
    print("  " + ", ".join(f"{len(each)} x {name} {sum(each):.2f} s" for name, each in kinds.items()))


def at_once(server: Server, n: int, args: argparse.Namespace) -> None:
    server.at_once(n, args.prompt, args.tokens)
    first = len(server.card.taken)
    rate, firsts = server.at_once(n, args.prompt, args.tokens, args.rounds)
    print(f"| {n} | {rate:.0f} | {rate * args.prompt / args.tokens:.0f} | {median(firsts):.3f} | {max(firsts):.3f} |")
    show(server.card.taken[first:])


def beside(server: Server, n: int, rounds: int, gaps: list[tuple[float, float]]) -> None:
    made = [server.beside(n, gaps) for _ in range(rounds + 1)][1:]
    b, usual = sorted(s for _, found in made for s in found), median(s for _, s in gaps)
    told = " | ".join(f"{1e3 * s:.1f}" for s in (usual, median(b), b[int(0.95 * (len(b) - 1))], b[-1]))
    print(f"| {n} | {median(first for first, _ in made):.3f} | {told} |")


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, many in (("clients", [8, 32]), ("prompts", [512, 1024])):
        parser.add_argument(f"--{name}", type=numbers, default=many)
    for name, one in (("prompt", 512), ("tokens", 128), ("rounds", 2), ("again", 1), ("streams", 8)):
        parser.add_argument(f"--{name}", type=int, default=one)
    parser.add_argument("--max-gap", type=float)
    parser.add_argument("--steps", action="store_true")
    args, gaps = parser.parse_args(), list[tuple[float, float]]()
    server = Server(max_gap=args.max_gap)
    with server.clock():
        print("| clients | tokens made a second | prompt tokens a second | first token, s | slowest |")
        for n in args.clients * args.again:
            at_once(server, n, args)
        if args.streams:
            print(f"| prompt beside {args.streams} | first token, s | usual gap, ms | median | 95th | largest |")
            server.stream(args.streams, gaps)
        for n in args.prompts if args.streams else ():
            beside(server, n, args.rounds, gaps)
    for t in server.card.taken if args.steps else ():
        print(f"{t.at:9.3f} {1e3 * t.seconds:6.1f} {t.what} {' + '.join(f'{n}x{m}' for n, m in t.groups)} {t.n_used}")


if __name__ == "__main__":
    main()
