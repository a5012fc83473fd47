#!/usr/bin/env python3
"""Writes a model of real size with random weights, to measure with: of any family that runs, in the usual types.

    tools/synthesize.py --list
    tools/synthesize.py qwen3-next-80b-a3b OUT.gguf [--type Q4_0] [--layers N] [--header-only] [--seed 0]

Types: F16, Q8_0, Q4_0 (with an output of Q6_K), Q4_K_M (with Q5_K and Q6_K where llama.cpp has them), MXFP4 (experts,
the rest Q8_0). Which tensors there are and in which shapes says the family's own code, given the keys of
tools/presets.py. Their values repeat after some millions, which is nothing to a device. 45 GB take 20 to 60 s, as fast
as the disk is.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np
from vkrun.runtime.gguf.header import TensorInfo
from vkrun.runtime.gguf.keys import GGUFKeys
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.quants import random_blocks
from vkrun.runtime.models import ARCHITECTURES, Architecture, Capacity
from vkrun.tools.presets import PRESETS, Preset

TYPES = {"F16": 1, "Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15, "MXFP4": 38}  # with what general.file_type says
ALIGNMENT = 32
POOL = 1 << 23  # values
PLAIN = ("norm", ".bias", "ffn_gate_inp", "conv1d", "conv.weight", "position_embd", "token_types", ".scale", "_scale")
SPREAD = 2.7  # largest value of a random block by the standard deviation


class Wishes(GGUFKeys):
    """Stands in for a file: has the preset's keys, and whatever tensor a family asks for, which `asked` keeps."""

    def __init__(self, preset: Preset, keys: Mapping[str, Any], kind: str) -> None:
        super().__init__(keys, {key: _type_of(value) for key, value in keys.items()})
        self.preset, self.kind, self.asked = preset, kind, dict[str, TensorInfo]()
        self.path, self.tensors = "", self
        n_layers, width = (keys[f"{preset.architecture}.{key}"] for key in ("block_count", "embedding_length"))
        self.n_layers = n_layers
        self.tensor("token_embd.weight", (preset.n_vocab, width))
        for name, shape in preset.given.items():
            for i in range(n_layers):
                self.tensor(name.format(i=i), shape)

    def __contains__(self, name: str) -> bool:
        return name in self.asked or self.preset.has(name)

    def get(self, name: str) -> TensorInfo | None:
        return self.asked.get(name)

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> TensorInfo:
        if shape is not None and name not in self.asked:
            dtype = dtype_of(name, shape, self.kind, self.n_layers)
            nbytes = int(np.prod(shape[:-1], dtype=np.int64)) * dtype.nbytes(shape[-1])
            self.asked[name] = TensorInfo(name, dtype, tuple(shape), 0, nbytes)
        return self.asked.get(name) or TensorInfo(name, DType.F32, (1,), 0, 4)  # which is yet to be asked for


def _type_of(value: Any) -> str:
    names: dict[type, str] = {
        bool: "bool",
        int: "uint32",
        float: "float32",
        str: "string",
        np.ndarray: "array of int32",
    }
    return names[type(value)]


def dtype_of(name: str, shape: tuple[int, ...], kind: str, n_layers: int) -> DType:
    """As llama.cpp's quantiser has it, roughly: vectors, routers and convolutions stay floats."""
    if len(shape) == 1 or any(part in name for part in PLAIN):
        return DType.F32
    wanted = {"Q4_K_M": DType.Q4_K, "MXFP4": DType.MXFP4 if "_exps" in name else DType.Q8_0}
    dtype = wanted.get(kind) or DType[kind]
    if kind in ("Q4_0", "Q4_K_M") and (name == "output.weight" or (kind != "Q4_0" and _is_precise(name, n_layers))):
        dtype = DType.Q6_K
    if kind == "Q4_K_M" and "attn_qkv." in name:
        dtype = DType.Q5_K
    if dtype.block > 1 and shape[-1] % dtype.block:
        dtype = DType.Q8_0 if shape[-1] % 32 == 0 else DType.F16
    return dtype


def _is_precise(name: str, n_layers: int) -> bool:
    """Values and the way down in the first and last eighth of the layers, and in every third between."""
    if not any(part in name for part in ("attn_v.", "ffn_down")):
        return False
    i, eighth = int(name.split(".")[1]), n_layers // 8
    return i < eighth or i >= n_layers - eighth or (i - eighth) % 3 == 2


def tensors_of(preset: Preset, kind: str, n_layers: int = 0) -> tuple[dict[str, Any], list[TensorInfo]]:
    """The keys of the file, and its tensors in the order in which the family asks for them."""
    keys, wishes = _wishes(preset, kind, n_layers)
    _model_of(wishes, Capacity(256))
    return keys, list(wishes.asked.values())


def model_of(preset: Preset, kind: str, n_layers: int, capacity: Capacity) -> Architecture:
    """The model of the file that would be written: to plan with, not to run."""
    return _model_of(_wishes(preset, kind, n_layers)[1], capacity)


def _model_of(wishes: Wishes, capacity: Capacity) -> Architecture:
    return ARCHITECTURES[wishes.preset.architecture](wishes, capacity)  # pyright: ignore[reportArgumentType]


def _wishes(preset: Preset, kind: str, n_layers: int) -> tuple[dict[str, Any], Wishes]:
    """The keys of the file, and what stands in for it."""
    keys = {f"{preset.architecture}.{key}": value for key, value in _shortened(preset.keys, n_layers).items()}
    arrays = {key: np.array(v, np.int32) if isinstance(v, list) else v for key, v in keys.items()}
    return keys, Wishes(preset, arrays, kind)


def _shortened(keys: Mapping[str, Any], n_layers: int) -> dict[str, Any]:
    """Of the first n_layers, 0 for all: lists of a number for each layer are cut too."""
    n_all, n = keys["block_count"], n_layers or keys["block_count"]
    cut = {key: v[:n] for key, v in keys.items() if isinstance(v, list) and len(v) == n_all}
    return {**keys, **cut, "block_count": n}


def write(path: Path, preset: Preset, kind: str, n_layers: int = 0, header_only: bool = False, seed: int = 0) -> int:
    """The bytes of tensors written. header_only: their place is a hole, which is enough to plan with."""
    keys, tensors = tensors_of(preset, kind, n_layers)
    _write_header(path, preset, kind, keys, tensors)
    sizes = [t.nbytes + -t.nbytes % ALIGNMENT for t in tensors]
    with open(path, "r+b") as f:
        start = f.seek(0, 2)
        start += -start % ALIGNMENT
        f.truncate(start + sum(sizes) if header_only else start)
        f.seek(start)
        for t, size in zip(tensors, sizes, strict=True) if not header_only else ():
            _write_tensor(f, t, size, np.random.default_rng((seed, len(t.name), t.nbytes)))
    return sum(sizes)


def _write_header(path: Path, preset: Preset, kind: str, keys: Mapping[str, Any], tensors: list[TensorInfo]) -> None:
    writer = gguf.GGUFWriter(path, preset.architecture)
    writer.add_name(f"random {preset.architecture} {kind}")
    writer.add_file_type(TYPES[kind])
    writer.add_quantization_version(2)
    adds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key, value in keys.items():
        adds.get(type(value), writer.add_array)(key, value)  # pyright: ignore[reportArgumentType]
    _add_tokens(writer, preset.n_vocab)
    for t in tensors:
        if t.dtype.is_quantised:
            shape = (*t.shape[:-1], t.dtype.nbytes(t.shape[-1]))
            kind_of = gguf.GGMLQuantizationType(t.dtype.gguf_id)
            writer.add_tensor_info(t.name, shape, np.dtype(np.uint8), t.nbytes, raw_dtype=kind_of)
        else:
            writer.add_tensor_info(t.name, t.shape, t.dtype.numpy, t.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _add_tokens(writer: gguf.GGUFWriter, n: int) -> None:
    """The byte-level alphabet and words that nobody writes; the last one ends a text."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*alphabet, *(f"<{i}>" for i in range(256, n - 1)), "<end>"])
    writer.add_token_types([1] * (n - 1) + [3])
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(n - 1)
    writer.add_bos_token_id(n - 1)
    writer.add_add_bos_token(False)


_pools: dict[tuple[DType, float], np.ndarray] = {}


def _write_tensor(f: BinaryIO, t: TensorInfo, size: int, rng: np.random.Generator) -> None:
    if t.dtype is DType.F32:
        f.write(numbers(t.name, t.shape, rng).astype("<f4").tobytes())
    else:
        for part in _pieces(t, rng):
            f.write(part)
    f.write(bytes(size - t.nbytes))


def _pieces(t: TensorInfo, rng: np.random.Generator) -> Iterator[memoryview]:
    """Runs of a pool of random blocks, each from somewhere in its first half on."""
    spread = round(SPREAD / float(np.sqrt(t.shape[-1])), 4)
    if (t.dtype, spread) not in _pools:
        n = max(256, t.dtype.block)
        _pools[t.dtype, spread] = random_blocks(t.dtype, POOL // n, n, rng, spread).reshape(-1)
    pool, left = _pools[t.dtype, spread], t.nbytes
    while left:
        at = int(rng.integers(0, len(pool) // 2 // t.dtype.block_bytes)) * t.dtype.block_bytes
        part = pool[at : at + left]
        left -= len(part)
        yield part.data


def numbers(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Of the size that training gives: norms near 1, decays negative, rows that keep a length."""
    if name.endswith("ssm_a"):
        return -rng.uniform(0.05, 8, shape)
    if name.endswith("ssm_dt.bias"):
        return rng.uniform(-4, 1, shape)
    if "rope_freqs" in name or name.endswith((".scale", "_scale.weight")):
        return np.ones(shape)
    if "norm" in name and name.endswith("weight"):
        return rng.normal(1, 0.1, shape)
    if len(shape) == 1 or name.endswith(".bias"):
        return rng.normal(0, 0.1, shape)
    return rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=PRESETS, metavar="NAME")
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--type", default="Q4_0", choices=TYPES)
    parser.add_argument("--layers", type=int, default=0, help="fewer than the model has")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--header-only", action="store_true", help="a file of the right size without its data")
    parser.add_argument("--list", action="store_true", help="the models that there are")
    args = parser.parse_args()
    if args.list or not (args.name and args.out):
        print("\n".join(f"{name:20} {preset.architecture}" for name, preset in PRESETS.items()))
        raise SystemExit(0 if args.list else 2)
    start = time.perf_counter()
    nbytes = write(args.out, PRESETS[args.name], args.type, args.layers, args.header_only, args.seed)
    print(f"{args.out}: {nbytes / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
