"""The typed getters: what they return, and the one line when a key is missing, mistyped or out of range."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vkrun.runtime.errors import GGUFError
from vkrun.runtime.gguf.keys import GGUFKeys, printable

ENTRIES: dict[str, tuple[str, Any]] = {
    "n": ("uint32", 7),
    "negative": ("int32", -2),
    "eps": ("float32", 1e-6),
    "nan": ("float32", math.nan),
    "inf": ("float64", math.inf),
    "flag": ("bool", True),
    "text": ("string", "hi"),
    "texts": ("array of string", ["a", "b"]),
    "heads": ("array of uint32", np.array([1, 2, 3], np.uint32)),
    "large": ("array of uint64", np.array([1, 2**64 - 1], np.uint64)),
    "scores": ("array of float32", np.array([0.5, math.nan], np.float32)),
    "flags": ("array of bool", np.array([True, False])),
    "none": ("array of uint64", np.array([], np.uint64)),
    "equal": ("array of int32", np.array([8, 8, 8], np.int32)),
    "bases": ("array of float32", np.array([1e4, 1e4], np.float32)),
    "yes": ("array of bool", np.array([True, True])),
    "zero": ("int8", 0),
    "ones": ("array of uint8", np.array([1, 0, 1], np.uint8)),
}
KEYS = GGUFKeys({k: v[1] for k, v in ENTRIES.items()}, {k: v[0] for k, v in ENTRIES.items()})


def test_values() -> None:
    assert KEYS.get_int("n", lo=7, hi=7) == 7
    assert KEYS.get_float("eps", lo=0, hi=1) == 1e-6
    assert KEYS.get_bool("flag") is True
    assert KEYS.get_str("text") == "hi"
    assert KEYS.get_strs("texts", length=2) == ["a", "b"]
    assert KEYS.get_ints("heads", lo=1, hi=3, length=3).tolist() == [1, 2, 3]
    assert KEYS.get_ints("heads").dtype == np.int64
    assert KEYS.get_bools("flags").tolist() == [True, False]
    assert KEYS.get_ints("none", lo=1).tolist() == []


def test_one_number_stands_for_many_where_a_length_is_given() -> None:
    assert KEYS.get_ints("n", length=3).tolist() == [7, 7, 7]
    assert KEYS.get_floats("eps", length=2).tolist() == [1e-6, 1e-6]
    assert KEYS.get_bools("flag", length=2).tolist() == [True, True]


def test_how_a_converter_spells_a_value_is_no_difference() -> None:
    assert KEYS.get_int("equal", lo=8) == 8
    assert KEYS.get_float("bases") == 1e4 and type(KEYS.get_float("n")) is float
    assert KEYS.get_float("n", lo=7, hi=7) == KEYS.get_float("equal") - 1 == 7.0
    assert KEYS.get_bool("zero") is False and KEYS.get_bool("yes") is True
    assert KEYS.get_bools("ones", length=3).tolist() == [True, False, True]
    assert KEYS.get_bools("ones").dtype == KEYS.get_bools("zero", length=2).dtype == np.bool_
    assert KEYS.get_bools("zero", length=2).tolist() == [False, False]
    assert KEYS.get_floats("equal", length=3).tolist() == KEYS.get_floats("equal").tolist() == [8.0, 8.0, 8.0]
    assert KEYS.get_floats("n", length=2).tolist() == [7.0, 7.0]


def test_defaults_are_for_missing_keys_only() -> None:
    assert KEYS.get_int("?", default=0) == 0
    assert KEYS.get_float("?", default=0.5) == 0.5
    assert KEYS.get_bool("?", default=False) is False
    assert KEYS.get_str("?", default="") == ""
    assert KEYS.get_strs("?", default=[]) == []
    default = np.zeros(0, np.int64)
    assert KEYS.get_ints("?", default=default) is default
    assert KEYS.get_floats("?", default=default) is default
    assert KEYS.get_bools("?", default=default) is default
    with pytest.raises(GGUFError, match="type string"):
        KEYS.get_int("text", default=0)


ERRORS: list[tuple[Callable[[], object], str]] = [
    (lambda: KEYS.get_int("a.b"), "a.b: missing key, expected an integer"),
    (lambda: KEYS.get_float("a.b"), "a.b: missing key, expected a float"),
    (lambda: KEYS.get_bools("a.b"), "a.b: missing key, expected an array of bools"),
    (lambda: KEYS.get_strs("a.b"), "a.b: missing key, expected an array of strings"),
    (lambda: KEYS.get_int("eps"), "eps: type float32, expected an integer"),
    (lambda: KEYS.get_int("flag"), "flag: type bool, expected an integer"),
    (lambda: KEYS.get_int("heads"), "heads: 3 values, 1 to 3, expected an integer"),
    (lambda: KEYS.get_int("none"), "none: 0 values, none, expected an integer"),
    (lambda: KEYS.get_int("bases"), "bases: type array of float32, expected an integer"),
    (lambda: KEYS.get_int("equal", hi=7), "equal: 8, expected at most 7"),
    (lambda: KEYS.get_float("scores"), "scores: 2 values, nan to nan, expected a float"),
    (lambda: KEYS.get_float("flag"), "flag: type bool, expected a float"),
    (lambda: KEYS.get_bool("n"), "n: 7, expected 0 to 1"),
    (lambda: KEYS.get_bool("eps"), "eps: type float32, expected a bool"),
    (lambda: KEYS.get_bool("flags"), "flags: 2 values, False to True, expected a bool"),
    (lambda: KEYS.get_bools("heads"), "heads[1]: 2, expected 0 to 1"),
    (lambda: KEYS.get_str("texts"), "texts: type array of string, expected a string"),
    (lambda: KEYS.get_strs("text"), "text: type string, expected an array of strings"),
    (lambda: KEYS.get_ints("n"), "n: type uint32, expected an array of integers"),
    (lambda: KEYS.get_ints("scores"), "scores: type array of float32, expected an array of integers"),
    (lambda: KEYS.get_floats("n"), "n: type uint32, expected an array of floats"),
    (lambda: KEYS.get_floats("flags", length=2), "flags: type array of bool, expected an array of floats"),
    (lambda: KEYS.get_int("n", lo=8), "n: 7, expected at least 8"),
    (lambda: KEYS.get_int("n", hi=6), "n: 7, expected at most 6"),
    (lambda: KEYS.get_int("negative", lo=1, hi=512), "negative: -2, expected 1 to 512"),
    (lambda: KEYS.get_float("eps", lo=1e-5, hi=1.0), "eps: 1e-06, expected 1e-05 to 1.0"),
    (lambda: KEYS.get_float("nan"), "nan: nan, expected a finite number"),
    (lambda: KEYS.get_float("inf"), "inf: inf, expected a finite number"),
    (lambda: KEYS.get_floats("scores"), "scores[1]: nan, expected a finite number"),
    (lambda: KEYS.get_ints("heads", lo=2), "heads[0]: 1, expected at least 2"),
    (lambda: KEYS.get_ints("heads", hi=2), "heads[2]: 3, expected at most 2"),
    (lambda: KEYS.get_ints("negative", lo=0, length=2), "negative[0]: -2, expected at least 0"),
    (lambda: KEYS.get_ints("large"), "large: 18446744073709551615, expected at most 9223372036854775807"),
    (lambda: KEYS.get_ints("heads", length=4), "heads: 3 values, expected 4"),
    (lambda: KEYS.get_strs("texts", length=1), "texts: 2 values, expected 1"),
]


@pytest.mark.parametrize(("call", "line"), ERRORS, ids=[line for _, line in ERRORS])
def test_errors(call: Callable[[], object], line: str) -> None:
    with pytest.raises(GGUFError) as caught:
        call()
    assert str(caught.value) == line


def test_printable() -> None:
    assert printable("blk.0 é ▁x [b]") == "blk.0 é ▁x [b]"
    assert printable("a\x1b[2J\n\t\0") == "a\\x1b[2J\\n\\t\\x00"
    assert printable("\u202e\u200b\U000e0001") == "\\u202e\\u200b\\U000e0001"
    assert printable(b"\xff\xc3".decode("utf-8", "surrogateescape")) == "\\xff\\xc3"
    assert printable("\ud800") == "\\ud800"
    assert printable("x" * 30, limit=10) == "x" * 10 + "…"
