"""Typed access to the keys of a GGUF file, with one clear line for whatever is missing, mistyped or out of range."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..errors import GGUFError

Value = bool | int | float | str | list[str] | np.ndarray

INTEGERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"})
NUMBERS = INTEGERS | {"float32", "float64"}
BOOLS = INTEGERS | {"bool"}
_INT64_MAX = 2**63 - 1


def printable(text: str, limit: int = 120) -> str:
    """Text from a file made safe for a terminal: controls, bidi marks and stray bytes as escapes, cut at the limit."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in cut)


def _escape(char: str) -> str:
    code = ord(char)
    # surrogateescape holds the stray byte b as U+DC00 + b
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode("ascii")


class GGUFKeys:
    """Getters over `keys` (name to value) and `types` (name to GGUF's type: `uint32`, `array of string`).

    Each takes a default for a missing key; without one a missing key is an error. Bounds are inclusive. How a
    converter spells a value is no difference: integers of any width, an integer where a float is wanted, 0 and 1 as
    bools, an array of equal values as one value, and where a length is given one value as an array.
    """

    def __init__(self, keys: Mapping[str, Value], types: Mapping[str, str]) -> None:
        self.keys, self.types = keys, types

    def get_int(self, key: str, default: int | None = None, lo: int | None = None, hi: int | None = None) -> int:
        if default is not None and key not in self.keys:
            return default
        return _in_range(key, self._one(key, INTEGERS, "an integer"), lo, hi)

    def get_float(
        self, key: str, default: float | None = None, lo: float | None = None, hi: float | None = None
    ) -> float:
        """A finite float."""
        if default is not None and key not in self.keys:
            return default
        return _in_range(key, float(self._one(key, NUMBERS, "a float")), lo, hi)

    def get_bool(self, key: str, default: bool | None = None) -> bool:
        if default is not None and key not in self.keys:
            return default
        return bool(_in_range(key, self._one(key, BOOLS, "a bool"), 0, 1))

    def get_str(self, key: str, default: str | None = None) -> str:
        if default is not None and key not in self.keys:
            return default
        return self._typed(key, {"string"}, "a string")

    def get_ints(
        self,
        key: str,
        default: np.ndarray | None = None,
        lo: int | None = None,
        hi: int | None = None,
        length: int | None = None,
    ) -> np.ndarray:
        """int64 [length]; where a length is given, one number stands for as many equal ones (a value per layer)."""
        if default is not None and key not in self.keys:
            return default
        values = self._array(key, INTEGERS, "integers", length)
        if values.dtype == np.uint64 and values.max(initial=0) > _INT64_MAX:
            raise GGUFError(f"{printable(key)}: {values.max()}, expected at most {_INT64_MAX}")
        return _all_in_range(key, values.astype(np.int64), lo, hi)

    def get_floats(
        self,
        key: str,
        default: np.ndarray | None = None,
        lo: float | None = None,
        hi: float | None = None,
        length: int | None = None,
    ) -> np.ndarray:
        """float64 [length], all finite; one number stands for many as in get_ints."""
        if default is not None and key not in self.keys:
            return default
        return _all_in_range(key, self._array(key, NUMBERS, "floats", length).astype(np.float64), lo, hi)

    def get_bools(self, key: str, default: np.ndarray | None = None, length: int | None = None) -> np.ndarray:
        """bool [length]; one value stands for many as in get_ints."""
        if default is not None and key not in self.keys:
            return default
        return _all_in_range(key, self._array(key, BOOLS, "bools", length), 0, 1).astype(np.bool_)

    def get_strs(self, key: str, default: list[str] | None = None, length: int | None = None) -> list[str]:
        if default is not None and key not in self.keys:
            return default
        texts = self._typed(key, {"array of string"}, "an array of strings")
        _check_length(key, len(texts), length)
        return texts

    def _one(self, key: str, kinds: Collection[str], wanted: str) -> Any:
        """A single value, which may stand in the file as an array of equal ones (a value per layer)."""
        value = self._typed(key, {*kinds, *(f"array of {kind}" for kind in kinds)}, wanted)
        if not isinstance(value, np.ndarray):
            return value
        if not len(value) or (value != value[0]).any():
            different = f"{value.min()} to {value.max()}" if len(value) else "none"
            raise GGUFError(f"{printable(key)}: {len(value)} values, {different}, expected {wanted}")
        return value[0].item()

    def _typed(self, key: str, kinds: Collection[str], wanted: str) -> Any:
        """The key's value, whose type is one of the kinds."""
        if key not in self.keys:
            raise GGUFError(f"{printable(key)}: missing key, expected {wanted}")
        if self.types[key] not in kinds:
            raise GGUFError(f"{printable(key)}: type {self.types[key]}, expected {wanted}")
        return self.keys[key]

    def _array(self, key: str, kinds: Collection[str], wanted: str, length: int | None) -> np.ndarray:
        arrays = {f"array of {kind}" for kind in kinds}
        value = self._typed(key, arrays if length is None else arrays.union(kinds), f"an array of {wanted}")
        if length is not None and self.types[key] in kinds:
            return np.full(length, value)
        _check_length(key, len(value), length)
        return value


def _check_length(key: str, n: int, length: int | None) -> None:
    if length is not None and n != length:
        raise GGUFError(f"{printable(key)}: {n} values, expected {length}")


def _in_range(key: str, value: Any, lo: float | None, hi: float | None) -> Any:
    if not math.isfinite(value):
        raise GGUFError(f"{printable(key)}: {value}, expected a finite number")
    if (lo is not None and value < lo) or (hi is not None and value > hi):
        raise GGUFError(f"{printable(key)}: {value}, expected {_range_words(lo, hi)}")
    return value


def _all_in_range(key: str, values: np.ndarray, lo: float | None, hi: float | None) -> np.ndarray:
    bad = ~np.isfinite(values)
    if lo is not None:
        bad |= values < lo
    if hi is not None:
        bad |= values > hi
    if bad.any():
        first = int(bad.argmax())
        _in_range(f"{key}[{first}]", values[first].item(), lo, hi)
    return values


def _range_words(lo: float | None, hi: float | None) -> str:
    if lo is None:
        return f"at most {hi}"
    return f"at least {lo}" if hi is None else f"{lo} to {hi}"
