"""Making what many programs share, several at a time."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .base import Progress

K = TypeVar("K")
M = TypeVar("M")
V = TypeVar("V")


def made_together(
    made: dict[K, V], keys: Iterable[K], make: Callable[[K], M], keep: Callable[[K, M], V], progress: Progress | None
) -> dict[K, V]:
    """Of `made` those for keys. What is missing is made in parallel, then kept, which the calling thread does."""
    wanted = list(dict.fromkeys(keys))
    missing = [k for k in wanted if k not in made]
    with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1) or 1) as pool:
        for i, (key, part) in enumerate(zip(missing, pool.map(make, missing), strict=True)):
            made[key] = keep(key, part)
            if progress:
                progress(i + 1, len(missing))
    return {k: made[k] for k in wanted}
