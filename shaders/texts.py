"""Shaders as the common text of shaders/translate: from the package where a wheel brought them, translated on first use
in a checkout and kept in the cache.

A text is named as compile.py names SPIR-V, by all that goes into it, so that a stale one is never found.
"""

import functools
import hashlib
import json
import lzma
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..runtime import config
from ..runtime.caches import keep
from .compile import LIBRARY, Defines, Variant
from .translate import translate

HERE = Path(__file__).resolve().parent
PACKED = HERE / "texts.json.xz"  # which a wheel brings


def text(stem: str, defines: Defines = ()) -> str:
    """The text of a variant. BackendError when it cannot be had."""
    name = LIBRARY.key(stem, defines)
    if (found := _packed().get(name)) is not None:
        return found
    path = _kept(name)
    if path is not None and (found := _read(path)):
        return found
    made = translate(stem, defines)
    if path is not None:
        keep(path, made.encode())
    return made


def prelude(name: str) -> str:
    return (HERE / "preludes" / f"{name}.h").read_text(encoding="utf-8")


def write_packed(path: Path, variants: Iterable[Variant]) -> None:
    """Every text in one file, for a wheel."""
    listed = list(variants)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        texts = dict(zip((LIBRARY.key(*v) for v in listed), pool.map(lambda v: text(*v), listed), strict=True))
    path.write_bytes(lzma.compress(json.dumps(texts).encode()))


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
