#!/usr/bin/env python3
"""How many tokens an agent's session reads again: turns that go on, regenerate an answer, edit a message or return to
what was said before (tests/sessions.py), one at a time in one slot.

  reread.py MODEL.gguf [--backend cpu] [--turns 40] [--longest 100] [--cache-ram MIB] [--seed 0]
"""

import argparse
from collections import defaultdict

import vkrun
from vkrun.tests.sessions import Turn, session


def main() -> None:
    args = arguments()
    with vkrun.load(args.model, args.backend, n_ctx=args.ctx, cache_ram=args.cache_ram) as model:
        eos = model.engine.model.params.n_vocab - 1

        def ask(prompt: list[int], _marks: list[int]) -> tuple[list[int], int]:
            answer = model.generate(prompt, max_tokens=12, temperature=0, ignore_eos=True)
            list(answer)
            return [t for t in answer.ids if t != eos], answer.timings.n_cached

        show(list(session(ask, args.turns, eos + 1, args.ctx, args.seed, args.longest)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--backend")
    parser.add_argument("--cache-ram", type=int)
    for name, default in (("ctx", 4096), ("turns", 40), ("longest", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def show(turns: list[Turn]) -> None:
    kinds: defaultdict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        kinds[turn.what].append(turn)
    for what, each in {**kinds, "all": turns}.items():
        reread = [t.n_reread for t in each]
        seen = sum(t.n_seen for t in each)
        print(f"{what:12} {len(each):3} turns, {seen:6} tokens seen before, {sum(reread):6} reread, most {max(reread)}")


if __name__ == "__main__":
    main()
