#!/usr/bin/env python3
"""Holds a model as it runs by default to itself in fp32: logits of random tokens, and greedy text token by token.

    tools/reports/fp32.py [-m MODEL.gguf] [--backend vulkan] [--tokens 64] [--only logits,text] [--out FILE.npz]

In fp32: without matrices, integer dots, halves and chunks of scans, and with caches in F32; weights stay as they are.
Prompts are read as one chunk and token by token. FILE.npz gets the logits, to hold one backend's to another's.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import vkrun
from vkrun.tests.comparing import nmse

FAST = ("COOPMAT", "INT_DOT", "FP16", "DELTA_CHUNKS")
BEGINNINGS = (
    "def fibonacci(n):",
    "import numpy as np\n",
    "class Stack:\n    def __init__(self",
    "# read a file of lines\n",
    "for i in range(10):\n",
    "Once upon a time",
    "def main() -> None:\n    parser = ",
    "The",
)


@contextmanager
def loaded(args: argparse.Namespace, exact: bool) -> Iterator[vkrun.Model]:
    names = [f"VKRUN_NO_{name}" for name in FAST] if exact else []
    cache = "f32" if exact else "auto"
    settings = {"n_ctx": args.ctx, "cache_type_k": cache, "cache_type_v": cache}
    with patch.dict(os.environ, dict.fromkeys(names, "1")), vkrun.load(args.model, args.backend, **settings) as model:
        yield model


def logits(model: vkrun.Model, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n_tokens, n_vocab] of random tokens: of one chunk, and of steps of one token."""
    n_vocab = model.engine.model.params.n_vocab
    ids = np.random.default_rng(0).integers(0, n_vocab, args.tokens).tolist()
    whole = model.logits(ids)
    model.engine.reset(0)
    steps = [model.engine.prompt(0, at, [token], every=True) for at, token in enumerate(ids)]
    return whole, np.concatenate(steps)


def texts(model: vkrun.Model, args: argparse.Namespace) -> list[list[int]]:
    """Tokens that the model says after each beginning, the likeliest ones."""
    said = ("".join(model.generate(text, max_tokens=args.length, temperature=0)) for text in BEGINNINGS)
    return [model.tokenize(text) for text in said]


def shared(a: list[int], b: list[int]) -> int:
    """Positions at which two texts have the same token."""
    return sum(x == y for x, y in zip(a, b, strict=False))


def main() -> None:
    args = arguments()
    made = {}
    for exact in (False, True):
        start = time.perf_counter()
        with loaded(args, exact) as model:
            print(f"{model.info.device}, {'fp32' if exact else 'default'}: loaded in", end=" ")
            print(f"{time.perf_counter() - start:.1f} s", flush=True)
            made[exact] = {
                "logits": logits(model, args) if "logits" in args.only else (),
                "texts": texts(model, args) if "text" in args.only else [],
            }
    for name, a, b in zip(("one chunk", "token by token"), made[False]["logits"], made[True]["logits"], strict=False):
        same = int((a.argmax(-1) == b.argmax(-1)).sum())
        print(f"{name}: NMSE {nmse(a, b):.1e} to fp32, the same likeliest token {same} times of {len(a)}")
    if pairs := list(zip(made[False]["texts"], made[True]["texts"], strict=True)):
        same, n = (sum(f(a, b) for a, b in pairs) for f in (shared, lambda a, b: max(len(a), len(b))))
        print(f"greedy text after {len(pairs)} beginnings: {same} of {n} positions alike")
    if args.out:
        np.savez(args.out, *made[False]["logits"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, default=vkrun.BUNDLED)
    parser.add_argument("--backend", default="vulkan")
    parser.add_argument("--only", default="logits,text", help="what is compared")
    parser.add_argument("--tokens", type=int, default=64, help="of logits")
    parser.add_argument("--length", type=int, default=110, help="tokens of each text")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
