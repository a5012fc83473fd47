"""What `vkrun inspect` shows of a GGUF file, as rows of strings that are safe to print on a terminal.

The strings come from an untrusted file: controls are escaped, but `[` stays, so print them without rich's markup.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..units import size_text
from .file import GGUFFile
from .header import TensorInfo
from .keys import Value, printable

Row = tuple[str, ...]

KEY_COLUMNS: Row = ("key", "type", "value")
TENSOR_COLUMNS: Row = ("tensor", "shape", "type", "size")
TOTAL_COLUMNS: Row = ("type", "tensors", "elements", "size")

_N_ITEMS = 6
_N_CHARS = 100


def summary_line(f: GGUFFile) -> str:
    """`model.gguf: GGUF v3, qwen3next, 42 keys, 123 tensors, 9.1 MiB`"""
    architecture = f.keys.get("general.architecture", "no architecture")
    parts = [f"GGUF v{f.version}", _value(architecture), f"{len(f.keys)} keys", f"{len(f.tensors)} tensors"]
    parts += [f"{f.n_parts} files"] if f.n_parts > 1 else []
    return f"{printable(f.path, 500)}: {', '.join([*parts, size_text(f.size)])}"


def key_rows(f: GGUFFile) -> list[Row]:
    """Each key with its type and its value; long arrays and strings are cut, an array's type tells its length."""
    return [(printable(key), _type(f.types[key], value), _value(value)) for key, value in f.keys.items()]


def tensor_rows(f: GGUFFile) -> list[Row]:
    """Each tensor with its shape in numpy's order, in the file's order."""
    return [(printable(t.name), _shape(t), t.dtype.name, size_text(t.nbytes)) for t in f.tensors.values()]


def total_rows(f: GGUFFile) -> list[Row]:
    """Tensors, elements and bytes of each type, the largest first, then of all."""
    kinds: dict[str, list[TensorInfo]] = {}
    for tensor in f.tensors.values():
        kinds.setdefault(tensor.dtype.name, []).append(tensor)
    ordered = sorted(kinds.items(), key=lambda item: -sum(t.nbytes for t in item[1]))
    return [_total(name, tensors) for name, tensors in [*ordered, ("all", list(f.tensors.values()))]]


def _total(name: str, tensors: Sequence[TensorInfo]) -> Row:
    n_elements = sum(math.prod(t.shape) for t in tensors)
    return name, str(len(tensors)), f"{n_elements:,}", size_text(sum(t.nbytes for t in tensors))


def _shape(info: TensorInfo) -> str:
    return " x ".join(map(str, info.shape))


def _type(name: str, value: Value) -> str:
    return f"{name} [{len(value)}]" if isinstance(value, list | np.ndarray) else name


def _value(value: Value) -> str:
    if isinstance(value, list | np.ndarray):
        shown = [_item(v) for v in value[:_N_ITEMS]]
        return ", ".join(shown + ["…"] * (len(value) > _N_ITEMS))
    return printable(value, _N_CHARS) if isinstance(value, str) else _item(value)


def _item(value: object) -> str:
    """One value; strings in an array stand in quotes, as they may be blank or hold commas."""
    if isinstance(value, str):
        return f'"{printable(value, 30)}"'
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.7g}" if isinstance(value, float) else str(value)
