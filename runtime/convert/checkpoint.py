"""Reading a Hugging Face checkpoint folder: its JSON files and its safetensors, a slice at a time.

Nothing is mapped and no tensor is held whole unless asked for, so that a checkpoint of any size converts in little
memory. The format is read here directly because numpy has no bfloat16.
"""

import json
import math
import os
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConvertError, reason

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER = 256 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. ConvertError when it cannot be read or is no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path}: {reason(error)}") from error
    if not isinstance(value, dict):
        raise ConvertError(f"{path}: {type(value).__name__}, expected an object")
    return value


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies: its type, its shape, and the file's bytes begin to end."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _entry(path: Path, base: int, size: int, name: str, entry: Any) -> Stored:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(map(int, entry["shape"])), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise ConvertError(f"{path.name}: {name}: damaged entry") from error
    if not 0 <= begin <= end <= size - base:
        raise ConvertError(f"{path.name}: {name}: bytes {begin} to {end}, the file holds {size - base}")
    if dtype in _BYTES and end - begin != _BYTES[dtype] * math.prod(shape):
        raise ConvertError(f"{path.name}: {name}: {end - begin} bytes, expected {_BYTES[dtype] * math.prod(shape)}")
    return Stored(path, dtype, shape, base + begin, base + end)


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file by name."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(MAX_HEADER, size - 8):
            raise ConvertError(f"{path.name}: header of {length} bytes, the file holds {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ConvertError(f"{path.name}: damaged header") from error
    if not isinstance(header, dict):
        raise ConvertError(f"{path.name}: damaged header")
    items = ((name, entry) for name, entry in header.items() if name != "__metadata__")
    return {name: _entry(path, 8 + length, size, name, entry) for name, entry in items}


def _as_float32(raw: bytes, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2").astype(np.float32)


class Checkpoint:
    """A folder with config.json and safetensors, in one file or in shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()
        if not folder.is_dir():
            raise ConvertError(f"{folder}: no such folder")

    def json(self, name: str) -> dict[str, Any]:
        """An optional JSON file of the folder; empty when there is none."""
        path = self.folder / name
        return read_json(path) if path.is_file() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_json(self.folder / "config.json")

    @cached_property
    def tensors(self) -> dict[str, Stored]:
        index = self.json("model.safetensors.index.json").get("weight_map")
        names = sorted(set(index.values())) if index else sorted(p.name for p in self.folder.glob("*.safetensors"))
        if not names:
            raise ConvertError(f"{self.folder}: no .safetensors files")
        paths = [self.folder / os.path.basename(name) for name in names]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise ConvertError(f"{self.folder}: shard {missing[0]} is missing ({len(missing)} of {len(paths)})")
        return {name: stored for path in paths for name, stored in read_header(path).items()}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def stored(self, name: str, shape: tuple[int, ...]) -> Stored:
        """The tensor's entry, checked against the shape that config.json implies."""
        stored = self.tensors.get(name)
        if stored is None:
            raise ConvertError(f"{name}: missing from the checkpoint, expected shape {shape}")
        if stored.shape != shape:
            raise ConvertError(f"{name}: shape {stored.shape}, expected {shape}")
        if stored.dtype not in _BYTES:
            raise ConvertError(f"{name}: type {stored.dtype}, expected one of {', '.join(_BYTES)}")
        self.used.add(name)
        return stored

    def rows(self, name: str, shape: tuple[int, ...], start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop of the first axis, as float32."""
        stored = self.stored(name, shape)
        stop = shape[0] if stop is None else min(stop, shape[0])
        row = (stored.end - stored.begin) // max(1, shape[0])
        with stored.path.open("rb") as file:
            file.seek(stored.begin + start * row)
            raw = file.read((stop - start) * row)
        if len(raw) != (stop - start) * row:
            raise ConvertError(f"{name}: {len(raw)} bytes, expected {(stop - start) * row}")
        return _as_float32(raw, stored.dtype).reshape(stop - start, *shape[1:])
