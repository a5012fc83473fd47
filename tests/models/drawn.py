"""Models whose values follow from their names: a golden file holds keys, shapes and logits, and no weights.

tools/golden/families.py gives the same values to transformers, and keeps the logits.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Array = np.ndarray
# what becomes of uniform numbers u of standard deviation 1: by part of a tensor's name a centre and a factor
RULES: tuple[tuple[str, float, float], ...] = (
    ("norm.weight", 1.0, 0.25),
    (".scale", 1.0, 0.25),
    ("layer_output_scale", 1.0, 0.2),
    ("exp_probs_b", 0.0, 0.1),
    (".bias", 0.0, 0.3),
    ("attn_sinks", 0.0, 1.0),
    ("ssm_alpha", 0.0, 0.3),
    ("ssm_a", -1.0, 0.4),  # below 0, as it is minus an exponential
    ("token_embd.weight", 0.0, 0.5),
    ("position_embd", 0.0, 0.5),
)
KEPT_F32 = ("ffn_gate_inp", "position_embd")


def uniform(name: str, seed: int, n: int) -> Array:
    """n numbers of mean 0 and standard deviation 1, by splitmix64 from the name: integers alone decide."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode())) << np.uint64(32) | np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5) * 12**0.5


def drawn(name: str, shape: tuple[int, ...], seed: int) -> Array:
    """float32, exact in F16."""
    matrix = 0.0, (2.0 if "ffn_gate_inp" in name else 1.2) / shape[-1] ** 0.5
    centre, factor = next(((c, f) for part, c, f in RULES if part in name), matrix)
    made = centre + factor * uniform(name, seed, int(np.prod(shape))).reshape(shape)
    return made.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Golden:
    """A model: keys and shapes of its file, tensors whose values are given; ids, and transformers' logits of them."""

    architecture: str
    seed: int
    keys: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, Array]
    ids: list[int]
    logits: Array

    def save(self, path: Path) -> None:
        header = {"architecture": self.architecture, "seed": self.seed, "keys": dict(self.keys)}
        header |= {"shapes": self.shapes, "given": {name: x.tolist() for name, x in self.given.items()}}
        ids = np.array(self.ids, np.int32)
        np.savez_compressed(path, header=json.dumps(header), ids=ids, logits=self.logits.astype(np.float32))

    @staticmethod
    def load(path: Path) -> "Golden":
        stored = np.load(path)
        header = json.loads(str(stored["header"]))
        header["shapes"] = {name: tuple(shape) for name, shape in header["shapes"].items()}
        header["given"] = {name: np.array(x, np.float32) for name, x in header["given"].items()}
        return Golden(**header, ids=stored["ids"].tolist(), logits=stored["logits"])

    def tensors(self) -> dict[str, Array]:
        return {n: self.given.get(n, drawn(n, shape, self.seed)) for n, shape in self.shapes.items()}

    def write(
        self, path: Path, keys: Mapping[str, Any] | None = None, tensors: Mapping[str, Array | None] | None = None
    ) -> Path:
        """The file, some keys or tensors of which are others; None takes one out."""
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in {**self.keys, **(keys or {})}.items():
            add_key(writer, f"{self.architecture}.{key}", value)
        for name, x in {**self.tensors(), **(tensors or {})}.items():
            if x is not None:
                short = x.ndim > 1 and not any(part in name for part in KEPT_F32)
                writer.add_tensor(name, x.astype(np.float16) if short else x)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def add_key(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    add = {bool: writer.add_bool, str: writer.add_string, float: writer.add_float32, list: writer.add_array}
    add.get(type(value), writer.add_uint32)(key, value)
