#!/usr/bin/env python3
"""What it costs to hold an answer to a grammar: tokens a second of free answers and of held ones, in turns.

    tools/reports/grammars.py [--model M] [--backend B] [--tokens 96] [--rounds 15] [--beside 1]

Each round makes one free answer and one of each kind of grammar, in an order of its own; shown are the medians of
seconds a token, behind the first, and of each round's share of held over free. The grammars let answers go on without
end, so that all are of one length. --beside: answers that are made at once.
"""

import argparse
import random
from pathlib import Path
from statistics import median

import vkrun
from vkrun.runtime.model import BUNDLED, Model
from vkrun.runtime.text.grammar import Grammar

LIST = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 500}
KINDS = {
    "free": None,
    "regex": Grammar("regex", r"[a-z_ (),=:\n]{2000,}"),
    "JSON schema": Grammar.json({"type": "object", "properties": {"a": LIST}, "required": ["a"]}),
}


def seconds(model: Model, grammar: Grammar | None, n: int, beside: int) -> float:
    """For a token of each answer, behind the first."""
    how = {"max_tokens": n, "temperature": 0, "grammar": grammar, "ignore_eos": grammar is None}
    made = [model.generate("def f(x):", **how) for _ in range(beside)]
    for each in made[1:]:
        each.start()
    "".join(made[0])
    for each in made[1:]:
        "".join(each)
    assert all(len(each.ids) == n for each in made)
    return max(each.timings.generate_s for each in made) / (n - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--backend")
    for name, value in (("tokens", 96), ("rounds", 15), ("beside", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with vkrun.load(args.model, args.backend, n_ctx=512, n_seqs=args.beside) as model:
        print(f"{model.info.kind} on {model.info.device}, {args.rounds} rounds, {args.beside} at once")
        for i in range(-1, args.rounds):
            for kind in random.Random(i).sample(sorted(KINDS), len(KINDS)):
                s = seconds(model, KINDS[kind], args.tokens, args.beside)
                taken[kind] += [s] if i >= 0 else []
    for kind, each in taken.items():
        shares = median(s / free for s, free in zip(each, taken["free"], strict=True))
        print(f"{kind:12} {1 / median(each):8.1f} tokens/s  {1e3 * median(each):.2f} ms  {shares:.3f} of free")


if __name__ == "__main__":
    main()
