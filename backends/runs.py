"""Which bytes of a block of memory are free."""


class Runs:
    """`free` holds the free runs as (start, end), sorted."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.free = [(0, nbytes)]

    def take(self, nbytes: int) -> int | None:
        """First fit; the start, or None."""
        for i, (start, end) in enumerate(self.free):
            if end - start >= nbytes:
                self.free[i : i + 1] = [(start + nbytes, end)] if end - start > nbytes else []
                return start
        return None

    def give(self, start: int, nbytes: int) -> None:
        """Give a run back; neighbours merge."""
        runs = sorted([*self.free, (start, start + nbytes)])
        merged = runs[:1]
        for lo, hi in runs[1:]:
            if lo == merged[-1][1]:
                merged[-1] = merged[-1][0], hi
            else:
                merged.append((lo, hi))
        self.free = merged

    @property
    def is_empty(self) -> bool:
        """Whether nothing is taken."""
        return self.free == [(0, self.nbytes)]
