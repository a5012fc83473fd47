#!/usr/bin/env python3
"""Makes tests/models/families: for each family what transformers' own class computes on values drawn by name.

    tools/golden/families.py [--only NAME] [--out DIR]

A model of transformers is given the values that tests/models/drawn.py draws for the tensors of a GGUF file; kept are
the file's keys and shapes, and the logits. Needs torch, transformers and this checkout as vkrun.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from family_specs import SPECS, Spec
from family_tensors import Maker
from hybrid_specs import SPECS as HYBRIDS
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from vkrun.tests.models.drawn import Golden, uniform

STABLE = 1e-9  # of a run in float32 against one in float64: no expert hangs by a hair


def model_of(spec: Spec, dtype: torch.dtype) -> Any:
    ends = {f"{name}_token_id": None for name in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(spec.model_type, **{**ends, **spec.config})
    config._attn_implementation = config._experts_implementation = "eager"
    made = AutoModel if spec.encodes else AutoModelForCausalLM
    return made.from_config(config).eval().to(dtype)


def logits_of(spec: Spec, seed: int, dtype: torch.dtype, ids: list[int]) -> tuple[np.ndarray, Maker]:
    model, maker = model_of(spec, dtype), Maker(spec, seed)
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not maker.is_made(name) and not (tied and name == "lm_head.weight"):
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(maker.value(name, tuple(tensor.shape)))))
        if spec.encodes:
            return model(torch.tensor([ids])).last_hidden_state[0].double().numpy(), maker
        made = model(torch.tensor([ids]), use_cache=False).logits[0]
    return made.double().numpy(), maker


def nmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a - b) ** 2).sum() / (b**2).sum())


def make(spec: Spec) -> Golden:
    n_vocab = spec.config["vocab_size"]
    error = 1.0
    for seed in range(1, 30):
        ids = np.floor((uniform("ids", seed, spec.n_ids) / 12**0.5 + 0.5) * n_vocab).astype(int).tolist()
        logits, maker = logits_of(spec, seed, torch.float32, ids)
        error = nmse(logits, logits_of(spec, seed, torch.float64, ids)[0])
        if error < STABLE:
            break
    else:
        raise SystemExit(f"{spec.name}: {error:.1e} between float32 and float64 for every seed")
    print(f"{spec.name:18} seed {seed:2} std {logits.std():.2f} float64 {error:.1e}", flush=True)
    return Golden(spec.architecture, seed, spec.keys(), maker.shapes, maker.given, ids, logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "tests/models/families")
    parser.add_argument("--only", help="the name of one family")
    args = parser.parse_args()
    for spec in (*SPECS, *HYBRIDS):
        if args.only in (None, spec.name):
            make(spec).save(args.out / f"{spec.name}.npz")


if __name__ == "__main__":
    main()
