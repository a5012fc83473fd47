"""Making what many programs share, several at a time."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

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


class Once(Generic[K, M]):
    """Makes each key's once, whichever threads ask for it and when; what failed is tried again."""

    def __init__(self, make: Callable[[K], M]) -> None:
        self._make, self._lock = make, Lock()
        self._begun: dict[K, Future[M]] = {}

    def __call__(self, key: K) -> M:
        with self._lock:
            begun, made = key in self._begun, self._begun.setdefault(key, Future())
        if not begun:
            try:
                made.set_result(self._make(key))
            except BaseException as error:
                self._begun.pop(key)
                made.set_exception(error)
        return made.result()

    def ahead(self, keys: Iterable[K]) -> None:
        """Make those of keys, several at a time, with most of the processor left to others."""
        missing = [k for k in dict.fromkeys(keys) if k not in self._begun]
        with ThreadPoolExecutor(max(1, min(len(missing), (os.cpu_count() or 1) // 4))) as pool:
            for _ in pool.map(self, missing):
                pass

    def made(self) -> list[M]:
        return [f.result() for f in self._begun.values() if f.done() and not f.exception()]
