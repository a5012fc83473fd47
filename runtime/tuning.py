"""Tuning: from how many columns or tokens on other kernels take over, and where `vkrun bench --tune` keeps it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from . import config
from .caches import keep

MOST = 4096  # of any threshold
MAX_NBYTES = 1 << 16  # of a kept file


@dataclass(frozen=True)
class Tuning:
    """The defaults are as measured on an H100."""

    few_cols: int = 5  # columns from which matrices multiply blocks of many rows (see shaders/matmul/matrices.py)
    some_cols: int = 8  # and blocks of fewer
    expert_tokens: int = 16  # from which experts are multiplied by matrices, in lists
    list_tokens: int = 33  # from which experts go through lists where a GPU has no matrices
    delta_tokens: int = 64  # from which scans over states run in chunks


@dataclass(frozen=True)
class Choice:
    """A threshold of Tuning, and the tokens of a step for which it is tried on both sides."""

    name: str
    what: str
    sizes: tuple[int, ...]

    @property
    def candidates(self) -> tuple[int, ...]:
        return (*self.sizes, self.sizes[-1] + 1)


CHOICES = (
    Choice("few_cols", "columns: matrices multiply many rows", (2, 4, 8, 16, 32)),
    Choice("some_cols", "columns: matrices multiply fewer rows", (2, 4, 8, 16, 32)),
    Choice("expert_tokens", "tokens: experts by lists and matrices", (4, 8, 16, 32)),
    Choice("list_tokens", "tokens: experts by lists, no matrices", (8, 16, 32, 64)),
    Choice("delta_tokens", "tokens: scans over states in chunks", (64, 128, 256)),
)

Key = Mapping[str, str]  # whose a tuning is: backend, device, driver and version


def load(key: Key) -> tuple[Tuning, str]:
    """What was kept for a device, and a line that says so or why it is not used; the defaults and "" where nothing was,
    or VKRUN_NO_TUNING is set."""
    path = _path(key)
    try:
        if path is None or path.stat().st_size > MAX_NBYTES:
            return Tuning(), f"tuning: {path} is too large, not used" if path else ""
        text = path.read_bytes()
    except OSError:
        return Tuning(), ""
    try:
        found = _read(text, key)
    except ValueError as error:
        return Tuning(), f"tuning: {path}: {error}, not used"
    return found, f"tuning: {changes(found)} (vkrun bench --tune, {path})"


def save(key: Key, tuning: Tuning) -> Path | None:
    """Where it was kept for the next loads, or None where there is no place for it."""
    path = _path(key)
    if path is not None:
        keep(path, json.dumps({"key": dict(key), "tuning": asdict(tuning)}, indent=1).encode())
    return path if path is not None and load(key)[0] == tuning else None


def changes(tuning: Tuning) -> str:
    """What is not as by default: `few_cols 16 instead of 5, ...`."""
    own, usual = asdict(tuning), asdict(Tuning())
    listed = [f"{name} {own[name]} instead of {usual[name]}" for name in own if own[name] != usual[name]]
    return ", ".join(listed) or "as by default"


def _path(key: Key) -> Path | None:
    """None when there is no place for caches, or tuning is switched off."""
    wanted = config.read()
    if wanted.cache_dir is None or not wanted.has("TUNING"):
        return None
    name = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]
    return wanted.cache_dir / "tuning" / f"{name}.json"


def _read(text: bytes, key: Key) -> Tuning:
    """ValueError says what is wrong with a kept file."""
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(kept, dict) or kept.get("key") != dict(key):
        raise ValueError("of another device, driver or version")
    numbers, names = kept.get("tuning"), {f.name for f in fields(Tuning)}
    if not isinstance(numbers, dict) or set(numbers) != names:
        raise ValueError(f"expected {', '.join(sorted(names))}")
    if bad := next((name for name, n in numbers.items() if type(n) is not int or not 1 <= n <= MOST), None):
        raise ValueError(f"{bad} {numbers[bad]!r}, expected 1 to {MOST}")
    return Tuning(**numbers)
