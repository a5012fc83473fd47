"""Which sizes of a step are planned, and how a prompt is cut into them."""

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class StepSizes:
    """Tokens of the planned steps, ascending from 1 on, and what a step costs whatever its size, in tokens. more: sizes
    of chunks beside sequences that decode, which have to be short."""

    sizes: tuple[int, ...]
    start: int
    more: tuple[int, ...] = ()

    @property
    def most(self) -> int:
        return self.sizes[-1]

    def up_to(self, most: int) -> "StepSizes":
        """The smaller ones, and `most` itself."""
        return StepSizes((*(s for s in self.sizes if s < most), most), self.start, self.more)

    def beside(self, most: int) -> "StepSizes":
        """Those of at most so many tokens beside sequences that decode."""
        return StepSizes(tuple(sorted(s for s in {*self.sizes, *self.more} if s <= most)), self.start)

    def next(self, n: int) -> int:
        """The planned size of the next chunk of n tokens: the first of those that together cost least."""
        return self.most if n >= 2 * self.most else _first(self, n)

    def whole(self, n: int) -> int:
        """The planned size of a step that takes all of n tokens, however many."""
        size = next((s for s in self.sizes if s >= n), self.most)
        while size < n:
            size *= 2
        return size


@cache
def _first(planned: StepSizes, n: int) -> int:
    """Larger ones first, among equals."""
    useful = [s for s in planned.sizes if s < n]
    useful += [s for s in planned.sizes if s >= n][:1]
    return min(reversed(useful), key=lambda s: _cost(planned, s, n))


def _cost(planned: StepSizes, size: int, n: int) -> int:
    """Of a step of this size, and of the rest."""
    rest = n - size
    return planned.start + size + (_cost(planned, planned.next(rest), rest) if rest > 0 else 0)


# On two cores without a GPU a step of one token costs as 8 of a prompt; on an H100 one of 64 as 370, of the 80B shape.
SOFTWARE = StepSizes((1, 8, 64, 512), 8)
GPU = StepSizes((1, 8, 64, 128, 256, 512, 1024, 2048), 256, (16, 32))
BESIDE_OTHERS = 512  # tokens of a lone prompt's chunk for which others wait who decode
TOGETHER = 1024  # the same of several prompts, where more wait for theirs


def sizes_for(is_software: bool) -> StepSizes:
    return SOFTWARE if is_software else GPU
