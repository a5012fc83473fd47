"""A random model whose every matrix may be of any type, in a file and as floats, for tests of files."""

from collections.abc import Sequence
from itertools import cycle

import gguf
import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.quants import dequantise, random_blocks
from vkrun.tests.rewriting import Contents, Stored, in_file

LAYERS, WIDTH, VOCAB, HEADS, KEYS, DIM, EXPERTS, USED = 2, 256, 48, 4, 2, 64, 4, 2
IDS = np.random.default_rng(3).integers(0, VOCAB, 11).tolist()


def shapes(experts: bool) -> dict[str, tuple[int, ...]]:
    made: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,)}
    made["output.weight"] = (VOCAB, WIDTH)
    for i in range(LAYERS):
        layer: dict[str, tuple[int, ...]] = {f"{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        sizes = {"attn_q": HEADS * DIM, "attn_k": KEYS * DIM, "attn_v": KEYS * DIM}
        layer |= {f"{name}.weight": (n, WIDTH) for name, n in sizes.items()}
        layer |= {f"{name}.bias": (n,) for name, n in sizes.items() if not experts}
        layer |= {f"attn_{name}_norm.weight": (DIM,) for name in "qk" if experts}
        layer["attn_output.weight"] = (WIDTH, HEADS * DIM)
        more, ending = ((EXPERTS,), "_exps") if experts else ((), "")
        layer |= {f"ffn_{name}{ending}.weight": (*more, WIDTH, WIDTH) for name in ("gate", "up", "down")}
        layer |= {"ffn_gate_inp.weight": (EXPERTS, WIDTH)} if experts else {}
        made |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return made


def model(types: Sequence[DType], experts: bool = False) -> Contents:
    """Qwen 2, or Qwen 3 with experts; its matrices of the types, one after the other."""
    name = "qwen3moe" if experts else "qwen2"
    counts = {"block_count": LAYERS, "context_length": 256, "embedding_length": WIDTH}
    counts |= {"attention.head_count": HEADS, "attention.head_count_kv": KEYS, "attention.key_length": DIM}
    counts |= {"feed_forward_length": WIDTH}
    more = {"expert_count": EXPERTS, "expert_used_count": USED, "expert_feed_forward_length": WIDTH}
    counts |= more if experts else {}
    keys = {"general.architecture": (name, "string"), f"{name}.rope.freq_base": (500.0, "float32")}
    keys |= {f"{name}.{key}": (value, "uint32") for key, value in counts.items()}
    keys[f"{name}.attention.layer_norm_rms_epsilon"] = (1e-5, "float32")
    rng, kinds = np.random.default_rng(8), cycle(types)
    tensors = {n: _drawn(n, shape, kinds, rng) for n, shape in shapes(experts).items()}
    return Contents(keys, tensors)


def _drawn(name: str, shape: tuple[int, ...], kinds: "cycle[DType]", rng: np.random.Generator) -> Stored:
    if len(shape) == 1 or "gate_inp" in name:
        around_one = "norm" in name
        return Stored.floats(
            rng.uniform(0.5, 2.0, shape) if around_one else rng.standard_normal(shape) / shape[-1] ** 0.5
        )
    dtype, n_rows = next(kinds), int(np.prod(shape[:-1]))
    raw = in_file(random_blocks(dtype, n_rows, shape[-1], rng, amplitude=2 / shape[-1] ** 0.5), dtype)
    return Stored(raw.reshape(*shape[:-1], -1), dtype)


def floats_of(contents: Contents) -> Contents:
    """The same with F32 for all matrices, by gguf's own code, and their factors in them."""
    made: dict[str, Stored | None] = {}
    for name, t in contents.tensors.items():
        values = _values(t, t.raw.shape[-1] // t.dtype.file_block_bytes * t.dtype.block)
        scale = name.removesuffix(".weight") + ".scale"
        if scale != name + ".scale" and scale in contents.tensors:
            factors = contents.tensors[scale].raw.view("<f4")
            values = values * factors.reshape(-1, *[1] * (values.ndim - 1))
        made[name] = None if name.endswith(".scale") else Stored.floats(values)
    return contents.with_tensors(made)


def _values(t: Stored, n: int) -> np.ndarray:
    if t.dtype is not DType.NVFP4:
        return dequantise(t.raw, t.dtype, n)
    return gguf.quants.dequantize(t.raw, gguf.GGMLQuantizationType.NVFP4)
