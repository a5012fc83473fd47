"""An agent's session: turns that go on, regenerate an answer, edit a message or return to what was said before."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Ask = Callable[[list[int], list[int]], tuple[list[int], int]]  # prompt and marks: the answer, and how many were cached


@dataclass(frozen=True)
class Turn:
    """`what` it did; of n_prompt tokens n_seen were read before in an earlier turn, and n_cached not again."""

    what: str
    n_prompt: int
    n_seen: int
    n_cached: int

    @property
    def n_reread(self) -> int:
        return self.n_seen - self.n_cached


def marks_of(ids: list[int], end: int) -> list[int]:
    """As the library marks the ends of messages."""
    ends = [i + 1 for i, t in enumerate(ids) if t == end]
    return list(dict.fromkeys([*ends[:1], *ends[-2:]]))


def n_alike(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def session(ask: Ask, n_turns: int, n_vocab: int, n_ctx: int, seed: int = 0, longest: int = 200) -> Iterator[Turn]:
    """A system prompt, then turns. The last token of the vocabulary ends a message. What is asked goes by the seed."""
    rng, end = random.Random(seed), n_vocab - 1

    def message(n: int) -> list[int]:
        return [*(rng.randrange(end) for _ in range(n)), end]

    said, earlier = [message(longest)], []
    seen: list[list[int]] = []
    for turn in range(n_turns):
        what = rng.choice(["goes on", "goes on", "regenerates", "edits", "returns"]) if turn else "goes on"
        if what == "regenerates":
            said = said[:-1]
        elif what == "edits":
            said = [*said[: rng.randrange(1, len(said), 2)], message(rng.randrange(10, longest))]
        else:
            if what == "returns":
                said = rng.choice(earlier)
            said = [*said, message(rng.randrange(10, longest))]
        prompt = [t for m in said for t in m]
        if len(prompt) > n_ctx - 100:  # the context is full: a new beginning
            said = [message(longest), message(20)]
            prompt = [t for m in said for t in m]
        answer, n_cached = ask(prompt, marks_of(prompt, end))
        n_seen = max((n_alike(prompt[:-1], s) for s in seen), default=0)
        seen.append([*prompt, *answer[:-1]])
        said = [*said, [*answer, end]]
        earlier.append(said)
        yield Turn(what, len(prompt), n_seen, n_cached)
