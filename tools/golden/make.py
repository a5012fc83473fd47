#!/usr/bin/env python3
"""Makes tests/models/golden: small random Qwen3-Next models as GGUF files, and their logits by transformers.

    tools/golden/make.py [--out DIR] [--witness COMMAND]

A model is made in transformers, saved as a checkpoint, converted by `vkrun convert`'s own code, and written with the
types and layouts of variants.py. The logits are those of transformers on the dequantised weights. --witness names a
second implementation: COMMAND is run with a float32 twin of each model, the ids and an output path in place of {model},
{ids} and {out}, and has to write float32 logits [n_ids, n_vocab] with numpy.save. Needs torch, transformers.
"""

import argparse
import json
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from tokenizers import pre_tokenizers
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM
from variants import VARIANTS, Variant
from vkrun.runtime.convert import qwen3next, write
from vkrun.runtime.convert.checkpoint import Checkpoint
from vkrun.runtime.convert.tokenizer import CONTROL, NORMAL, Vocabulary
from weights import Tensors, decoded, encoded, to_transformers, type_of, with_layout

MIN_GAP = 1e-3  # between the last router logit that is used and the first that is not: no rounding flips an expert
MERGES = ["Ġ Ġ", "r e", "i n", "d e", "de f", "ĠĠ ĠĠ", "re t", "s e", "se l"]


def random_value(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values that make every part of the model matter: gates half open, decays short and long, logits of std 1 to 3."""
    x = rng.standard_normal(shape)
    if name.endswith("A_log"):
        return rng.uniform(np.log(0.02), np.log(8.0), shape)
    if name.endswith("dt_bias"):
        return x - 1.0
    if "norm" in name:
        return 1.0 + 0.2 * x if "linear_attn" in name else 0.2 * x
    gain = {"embed_tokens": shape[-1] ** 0.5, "conv1d": 1.5, "mlp.gate.": 2.0, "in_proj_ba": 1.5, "lm_head": 1.5}
    factor = next((value for key, value in gain.items() if key in name), 1.2)
    return factor * x / shape[-1] ** 0.5


def random_model(variant: Variant, seed: int) -> Qwen3NextForCausalLM:
    config = Qwen3NextConfig(**variant.config, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    config._experts_implementation = "eager"  # the plain loop over experts
    model = Qwen3NextForCausalLM(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, param in sorted(model.named_parameters()):
            value = random_value(name, tuple(param.shape), rng)
            if config.tie_word_embeddings and "embed_tokens" in name:
                value = value / variant.config["hidden_size"] ** 0.5 * 1.5  # also the head
            param.copy_(torch.from_numpy(value))
    return model


def converted(model: Qwen3NextForCausalLM) -> tuple[Tensors, dict[str, Any], qwen3next.Shape]:
    """The model through a checkpoint on disk and the converter: float32 tensors, keys, sizes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        source = Checkpoint(Path(folder))
        tensors = {spec.name: np.concatenate(list(spec.parts())) for spec in qwen3next.specs(source)}
        return tensors, qwen3next.keys(source.config), qwen3next.read_shape(source.config)


def kind_of(name: str, x: np.ndarray, variant: Variant) -> Type:
    if x.ndim == 1:
        return type_of(name, {**variant.strays, "": "F32"})
    if "ffn_gate_inp" in name or "conv1d" in name:
        return Type.F32
    return type_of(name, variant.types)


def byte_vocabulary(size: int) -> Vocabulary:
    """All bytes, a few merges, two control tokens, and filler."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [merge.replace(" ", "") for merge in MERGES] + ["<|endoftext|>", "<|im_end|>"]
    tokens += [f"<|extra_{i}|>" for i in range(size - len(tokens))]
    types = [CONTROL if token.startswith("<|") else NORMAL for token in tokens]
    end = tokens.index("<|endoftext|>")
    return Vocabulary("qwen2", tokens, types, MERGES, {"eos": end, "padding": end})


def write_gguf(path: Path, variant: Variant, keys: dict[str, Any], data: dict[str, tuple[np.ndarray, Type]],
               twin: bool = False) -> None:  # fmt: skip
    writer = gguf.GGUFWriter(path, qwen3next.ARCH)
    writer.add_name(f"random {variant.name}")
    write.add_keys(writer, keys)
    if variant.bytes_vocab:
        write.add_tokenizer(writer, byte_vocabulary(variant.config["vocab_size"]))
    elif twin:
        writer.add_tokenizer_model("no_vocab")
    for name, (x, kind) in data.items():
        writer.add_tensor(name, x, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits_and_gap(variant: Variant, state: dict[str, np.ndarray], ids: np.ndarray) -> tuple[np.ndarray, float]:
    """transformers' logits [n_ids, n_vocab] and the smallest gap between used and unused router logits."""
    model = random_model(variant, 0)
    missing = model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()})
    assert not missing.missing_keys and not missing.unexpected_keys
    gaps: list[float] = []
    used, experts = variant.config["num_experts_per_tok"], variant.config["num_experts"]

    def record(module: Any, inputs: Any, output: Any) -> None:
        ordered = output[0].float().sort(-1, descending=True).values
        gaps.append(float((ordered[:, used - 1] - ordered[:, used]).min()) if used < experts else np.inf)

    for layer in model.model.layers:
        layer.mlp.gate.register_forward_hook(record)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()
    return logits, min(gaps)


def nmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a.astype(np.float64) - b) ** 2).sum() / (a.astype(np.float64) ** 2).sum())


def witness(command: str, model: Path, ids: np.ndarray) -> np.ndarray:
    out = model.with_suffix(".npy")
    places = {"model": str(model), "ids": ",".join(map(str, ids)), "out": str(out)}
    subprocess.run([part.format(**places) for part in shlex.split(command)], check=True, stderr=subprocess.DEVNULL)
    return np.load(out)


def make(variant: Variant, out: Path, command: str | None) -> dict[str, Any]:
    """Writes one model and its logits; the seed is the first whose routers decide clearly."""
    for seed in range(1, 100):
        tensors, keys, s = converted(random_model(variant, seed))
        rng = np.random.default_rng([seed, 1])
        ids = rng.integers(0, variant.config["vocab_size"], variant.n_ids)
        laid_out = with_layout(tensors, variant.layout, s)
        kinds = {name: kind_of(name, x, variant) for name, x in laid_out.items()}
        data = {name: (encoded(x, kinds[name], rng), kinds[name]) for name, x in laid_out.items()}
        plain = {name: decoded(data[name][0], kinds[name], x.shape) for name, x in laid_out.items()}
        logits, gap = logits_and_gap(variant, to_transformers(plain, s), ids)
        if gap > MIN_GAP:
            break
    else:
        raise SystemExit(f"{variant.name}: no seed under 100 keeps its router logits {MIN_GAP} apart")
    path = out / f"{variant.name}.gguf"
    write_gguf(path, variant, keys, data)
    np.savez_compressed(out / f"{variant.name}.npz", ids=ids.astype(np.int32), logits=logits)
    record = {"seed": seed, "n_ids": variant.n_ids, "bytes": path.stat().st_size, "logits_std": float(logits.std()),
              "router_gap": gap, "types": sorted({kind.name for kind in kinds.values()}), "layout": variant.layout,
              "config": variant.config}  # fmt: skip
    if command:
        with tempfile.TemporaryDirectory() as folder:
            twin = Path(folder) / "twin.gguf"
            write_gguf(twin, variant, keys, {name: (x, Type.F32) for name, x in plain.items()}, twin=True)
            record["nmse_witness"] = nmse(logits, witness(command, twin, ids))
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=Path, default=here / "tests/models/golden")
    parser.add_argument("--witness", metavar="COMMAND")
    parser.add_argument("--only", help="the name of one variant")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    index = args.out / "golden.json"
    record = json.loads(index.read_text()) if index.is_file() else {"models": {}}
    record["versions"] = {m.__name__: m.__version__ for m in (np, torch, transformers)}
    for variant in VARIANTS:
        if args.only in (None, variant.name):
            record["models"][variant.name] = row = make(variant, args.out, args.witness)
            agreement = f"{row['nmse_witness']:.1e}" if "nmse_witness" in row else "-"
            print(f"{variant.name:18} seed {row['seed']:2} {row['bytes'] / 1e3:6.0f} kB  std {row['logits_std']:.2f}  "
                  f"gap {row['router_gap']:.1e}  nmse to the witness {agreement}", flush=True)  # fmt: skip
    index.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
