"""Arguments of the library as callers give them: the obvious meaning, or one clear error."""

from collections.abc import Iterable, Sequence
from numbers import Integral

from .errors import UsageError

CACHE_TYPES = ("f32", "f16", "q8_0")  # of keys and values
DEFAULT_CACHE_TYPE = "auto"  # F32 or F16, as suits the device and the file


def check_range(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, Integral) or not low <= int(value) <= high:
        raise UsageError(f"{name}: {value!r:.60}, expected {low} to {high}")


def check_cache_types(known: Sequence[str] = (*CACHE_TYPES, DEFAULT_CACHE_TYPE), **named: object) -> None:
    for name, value in named.items():
        if value not in known:
            raise UsageError(f"{name}: {value!r:.40}, expected {', '.join(known[:-1])} or {known[-1]}")


def token_ids(name: str, given: object, n_vocab: int) -> list[int]:
    """Token ids as plain integers."""
    if isinstance(given, str | bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise UsageError(f"{name}: {type(given).__name__}, expected text or token ids")
    ids = []
    for i in given:
        if not isinstance(i, Integral) or isinstance(i, bool):
            raise UsageError(f"{name}: {i!r:.40} among the token ids, expected integers")
        if not 0 <= int(i) < n_vocab:
            raise UsageError(f"{name}: token {int(i)}, expected 0 to {n_vocab - 1}")
        ids.append(int(i))
    if not ids:
        raise UsageError(f"{name}: no tokens, expected at least 1")
    return ids


def stop_strings(given: object) -> tuple[str, ...]:
    """None for none, one string, or several."""
    if given is None:
        return ()
    stops = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if bad := [s for s in stops if not isinstance(s, str)]:
        raise UsageError(f"stop: {bad[0]!r:.40}, expected text or several texts")
    return tuple(stops)  # type: ignore[arg-type]


def token_limit(given: object) -> int | None:
    """How many tokens to make at most; None and -1 for no limit."""
    if given is None or (isinstance(given, Integral) and given == -1):
        return None
    check_range("max_tokens", given, 0, 1 << 31)
    return int(given)  # type: ignore[call-overload]
