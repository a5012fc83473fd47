"""Model files taken apart and written again in other layouts: in parts, in another order, with other tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import gguf
import numpy as np
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.dtypes import DType


@dataclass(frozen=True)
class Stored:
    """A tensor as it stands in a file: uint8 [..., bytes of a row]."""

    raw: np.ndarray
    dtype: DType = DType.F32

    @classmethod
    def floats(cls, x: np.ndarray) -> Self:
        return cls(np.ascontiguousarray(x, np.float32).view(np.uint8))


@dataclass(frozen=True)
class Contents:
    """The keys, each with GGUF's type, and the tensors of a file."""

    keys: Mapping[str, tuple[Any, str]]
    tensors: Mapping[str, Stored]

    @classmethod
    def of(cls, path: Path) -> Self:
        with GGUFFile.open(path) as f:
            keys = {name: (value, f.types[name]) for name, value in f.keys.items() if not name.startswith("split.")}
            tensors = {
                name: Stored(f.read(info).reshape(*info.shape[:-1], -1), info.dtype) for name, info in f.tensors.items()
            }
        return cls(keys, tensors)

    @property
    def architecture(self) -> str:
        return self.keys["general.architecture"][0]

    def with_keys(self, **more: tuple[Any, str]) -> Self:
        """Keys of the architecture, dots as __."""
        named = {f"{self.architecture}.{name.replace('__', '.')}": value for name, value in more.items()}
        return replace(self, keys={**self.keys, **named})

    def with_tensors(self, more: Mapping[str, Stored | None]) -> Self:
        """More or other tensors; None for one that goes."""
        kept = {name: t for name, t in {**self.tensors, **more}.items() if t is not None}
        return replace(self, tensors=kept)

    def reordered(self, seed: int) -> Self:
        names = np.random.default_rng(seed).permutation(list(self.tensors)).tolist()
        return replace(self, tensors={name: self.tensors[name] for name in names})

    def write(self, path: Path) -> Path:
        _write(path, self.keys, self.tensors)
        return path

    def write_parts(self, folder: Path, sizes: tuple[int, ...], stem: str = "parts") -> list[Path]:
        """So many tensors a part, the rest in the last one."""
        names, at, paths = list(self.tensors), 0, []
        for i, size in enumerate(sizes):
            stop = len(names) if i == len(sizes) - 1 else at + size
            own = {"split.no": (i, "uint16"), "split.count": (len(sizes), "uint16")}
            own |= {"split.tensors.count": (len(names), "int32")}
            keys = {**(self.keys if i == 0 else {}), **own}
            paths.append(folder / f"{stem}-{i + 1:05d}-of-{len(sizes):05d}.gguf")
            _write(paths[-1], keys, {name: self.tensors[name] for name in names[at:stop]})
            at = stop
        return paths


def in_file(raw: np.ndarray, dtype: DType) -> np.ndarray:
    """Rows of our blocks as a file has them: without the factors that NVFP4's hold."""
    if dtype is not DType.NVFP4:
        return raw
    blocks = raw.reshape(len(raw), -1, dtype.block_bytes)
    return np.concatenate([blocks[..., :4], blocks[..., 8:]], -1).reshape(len(raw), -1)


def fused(contents: Contents, made: str, *names: str) -> Contents:
    """Rows of the named tensors one after the other as one, and their biases."""
    for ending, axis in ((".weight", -2), (".bias", -1)):
        parts = [t for name in names if (t := contents.tensors.get(name + ending))]
        if parts:
            whole = Stored(np.concatenate([p.raw for p in parts], axis), parts[0].dtype)
            contents = contents.with_tensors({**{name + ending: None for name in names}, made + ending: whole})
    return contents


def _write(path: Path, keys: Mapping[str, tuple[Any, str]], tensors: Mapping[str, Stored]) -> None:
    architecture = keys.get("general.architecture", ("", ""))[0]
    writer = gguf.GGUFWriter(path, architecture)
    if not architecture:
        writer.kv_data[0].clear()
    for name, (value, kind) in keys.items():
        if name != "general.architecture":
            _add(writer, name, value, kind)
    for name, t in tensors.items():
        writer.add_tensor(name, t.raw, raw_dtype=gguf.GGMLQuantizationType(t.dtype.gguf_id))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf.GGUFWriter, name: str, value: Any, kind: str) -> None:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    item = kind.removeprefix("array of ").upper()
    if kind.startswith("array of "):
        writer.add_key_value(name, plain, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType[item])
    else:
        writer.add_key_value(name, plain, gguf.GGUFValueType[item])
