#!/usr/bin/env python3
"""Holds model files to what others computed on them, and prints a table, a row a model.

    tools/reports/held.py FOLDER [--only PART] [--backend vulkan kompute cpu] [--level 0 3] [--cache auto]

FOLDER has NAME.gguf and NAME.npz: `ids`, `logits` of them (of an encoder the last rows), and `pairs`, JSON of texts and
the ids that tokenizers gave them. Of each backend the worst of its levels is said: NMSE of one shot, of chunks of 7 and
of token by token against one shot; of texts, how many of all are read as which tokenizer reads them.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from vkrun.runtime.model import Model, load
from vkrun.tests.comparing import nmse

JUDGES = "hf", "peer", "spm"  # transformers, llama.cpp, sentencepiece
PIECES = 7, 1


def in_pieces(model: Model, ids: Sequence[int], n: int) -> np.ndarray:
    """Logits of every token, read n at a time."""
    model.engine.reset(0)
    ends = [*range(0, len(ids), n), len(ids)]
    return np.concatenate([model.engine.prompt(0, at, ids[at:stop], every=True) for at, stop in pairwise(ends)])


def errors(path: Path, backend: str, level: int, cache: str) -> tuple[float, float | None, float]:
    """NMSE of one shot against the judge; of pieces against one shot, None of encoders; the least cosine of a row."""
    known = np.load(path.with_suffix(".npz"))
    ids, wanted = known["ids"].tolist(), known["logits"]
    with load(path, backend, n_ctx=64, opt=level, cache_type_k=cache, cache_type_v=cache) as model:
        got = model.logits(ids)
        causal = model.engine.model.causal
        pieces = max(nmse(in_pieces(model, ids, n), got) for n in PIECES) if causal else None
    cosines = (got * wanted).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(wanted, axis=-1)
    return nmse(got, wanted), pieces, float(cosines.min())


def texts(path: Path) -> str:
    """How many texts have the ids that each tokenizer gives them."""
    pairs = json.loads(str(np.load(path.with_suffix(".npz"))["pairs"]))
    with load(path, "cpu", n_ctx=64) as model:
        plain = [model.tokenize(p["text"], bos=False) for p in pairs]
        special = [model.tokenize(p["text"]) for p in pairs]
    said = []
    for judge in JUDGES:
        own = [
            (p[judge], p.get(f"{judge}_special"), a, b)
            for p, a, b in zip(pairs, plain, special, strict=True)
            if judge in p
        ]
        if own:
            said.append(f"{judge} {sum(x == a and y in (None, b) for x, y, a, b in own)}/{len(own)}")
    return ", ".join(said)


def row(path: Path, backends: Sequence[str], levels: Sequence[int], cache: str) -> str:
    cells = [path.stem]
    for backend in backends:
        worst, pieces, cosines = zip(*(errors(path, backend, level, cache) for level in levels), strict=True)
        causal = [p for p in pieces if p is not None]
        cells += [f"{max(worst):.1e}", f"{max(causal):.1e}" if causal else f"cosine {min(cosines):.7f}"]
    return f"| {' | '.join([*cells, texts(path)])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="a part of names")
    parser.add_argument("--backend", nargs="+", default=["vulkan", "kompute", "cpu"])
    parser.add_argument("--level", nargs="+", type=int, default=[0, 3])
    parser.add_argument(
        "--cache", default="auto", choices=["auto", "f32", "f16"], help="what keys and values are kept as"
    )
    args = parser.parse_args()
    heads = ["model", *(f"{b}{what}" for b in args.backend for what in (" NMSE", " in pieces")), "texts"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for path in sorted(args.folder.glob("*.npz")):
        if args.only in path.stem:
            print(row(path.with_suffix(".gguf"), args.backend, args.level, args.cache), flush=True)


if __name__ == "__main__":
    main()
