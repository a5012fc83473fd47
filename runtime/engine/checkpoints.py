"""Where checkpoints of recurrent states are taken: near the positions from which a later prompt may go on."""

from collections.abc import Iterable, Sequence

from ..ir.composites.slots import SPAN, n_spans
from .slots import Checkpoint

FEWEST = 512  # between two of a long prompt, of which there are at most half of all
EVERY = 256  # tokens between two checkpoints of a sequence that decodes


def checkpoint_ends(first: int, stop: int, marks: Iterable[int], every: int) -> dict[int, bool]:
    """The ends of a chunk's spans, [first, stop), at which to keep the state: for each mark, and for the multiples of
    `every`, the nearest at or before it, unless the next chunk has a nearer one. True for those that are passed by."""
    marked = [(stop // every * every, True), *((m, False) for m in marks)]  # what is said last counts
    ends = {_end(first, stop, m): passing for m, passing in marked if first < m < stop + SPAN}
    return {end: ends[end] for end in sorted(ends) if end > first}


def _end(first: int, stop: int, mark: int) -> int:
    return stop if mark >= stop else first + (mark - first) // SPAN * SPAN


def snapshots(first: int, n_tokens: int, checkpoints: Iterable[Checkpoint]) -> Sequence[int]:
    """The state slot for each span of a chunk of planned size that begins at `first`, -1 for none."""
    columns = [-1] * n_spans(n_tokens)
    for c in checkpoints:
        columns[(c.pos - first - 1) // SPAN] = c.state
    return columns
