"""Shaders as the common text of shaders/translate: from the package where a wheel brought them, translated on first use
in a checkout and kept in the cache.

A text is named as compile.py names SPIR-V, by all that goes into it, so that a stale one is never found.
"""

import functools
import hashlib
import json
import lzma
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..runtime import config
from ..runtime.caches import keep
from .compile import LIBRARY, Defines, Variant
from .translate import translate

HERE = Path(__file__).resolve().parent
PACKED = HERE / "texts.json.xz"  # which a wheel brings
TOGETHER = 32  # texts


def text(stem: str, defines: Defines = ()) -> str:
    """The text of a variant. BackendError when it cannot be had."""
    return _found(stem, defines) or _made([(stem, defines)])[0]


def texts(variants: Iterable[Variant]) -> list[str]:
    """Of several, those that are missing made together, which takes much less time. BackendError when one cannot be
    had."""
    listed = list(variants)
    found = {v: _found(*v) for v in dict.fromkeys(listed)}
    missing = [v for v, known in found.items() if not known]
    parts = [missing[i : i + TOGETHER] for i in range(0, len(missing), TOGETHER)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for some, made in zip(parts, pool.map(_made, parts), strict=True):
            found |= zip(some, made, strict=True)
    return [found[v] for v in listed]


def _found(stem: str, defines: Defines) -> str:
    """What a wheel brought or was made before, empty where there is none."""
    name = LIBRARY.key(stem, defines)
    path = _kept(name)
    return _packed().get(name) or (_read(path) if path else "")


def _made(variants: Sequence[Variant]) -> list[str]:
    made = translate(variants)
    for variant, each in zip(variants, made, strict=True):
        if path := _kept(LIBRARY.key(*variant)):
            keep(path, each.encode())
    return made


def prelude(name: str) -> str:
    return (HERE / "preludes" / f"{name}.h").read_text(encoding="utf-8")


def write_packed(path: Path, variants: Iterable[Variant]) -> None:
    """Every text in one file, for a wheel."""
    listed = list(variants)
    packed = dict(zip((LIBRARY.key(*v) for v in listed), texts(listed), strict=True))
    path.write_bytes(lzma.compress(json.dumps(packed).encode()))


@functools.cache
def _packed() -> Mapping[str, str]:
    try:
        return json.loads(lzma.decompress(PACKED.read_bytes()))
    except (OSError, lzma.LZMAError):
        return {}


def _kept(name: str) -> Path | None:
    folder = config.cache_dir()
    return folder / "texts" / f"{name}-{_translator()}.txt" if folder else None


@functools.cache
def _translator() -> str:
    """A hash of the translator, whose texts change with it."""
    files = sorted((HERE / "translate").glob("*.py"))
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()[:16]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
