"""Where boxes stand: in ranks from top to bottom, side by side so that lines are short and cross little.

The usual layered drawing (Sugiyama, Tagawa & Toda, 1981): a line over several ranks gets a bend in each of them, bends
and boxes are ordered by the mean of their neighbours, and keep their distance.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .boxes import Box

BOX_WIDTH, BEND_WIDTH, GAP = 134.0, 4.0, 14.0
N_SWEEPS = 24


@dataclass(frozen=True)
class Placed:
    """Centres of boxes by index, (x, rank), and the lines: points from a box to one that reads it."""

    centres: dict[int, tuple[float, int]]
    lines: list[list[tuple[float, int]]]
    width: float
    n_ranks: int


@dataclass(eq=False)
class _Spot:
    """A box or a bend."""

    rank: int
    width: float
    x: float = 0.0


def place(boxes: Sequence[Box]) -> Placed:
    ranks = ranks_of(boxes)
    spots = {b.index: _Spot(ranks[b.index], BOX_WIDTH) for b in boxes}
    chains = [_chain(spots[j], spots[b.index]) for b in boxes for j in b.feeds_on if j in spots]
    rows = _rows([*spots.values(), *(s for chain in chains for s in chain[1:-1])])
    _sweep(rows, chains)
    left = min((s.x - s.width / 2 for row in rows for s in row), default=0.0)
    right = max((s.x + s.width / 2 for row in rows for s in row), default=0.0)
    centres = {i: (s.x - left, s.rank) for i, s in spots.items()}
    lines = [[(s.x - left, s.rank) for s in chain] for chain in chains]
    return Placed(centres, lines, right - left, len(rows))


def ranks_of(boxes: Sequence[Box]) -> dict[int, int]:
    """Each box below all that it feeds on, and as near as can be to those that feed on it."""
    ranks: dict[int, int] = {}
    users: dict[int, list[int]] = defaultdict(list)
    for b in boxes:
        mine = [j for j in b.feeds_on if j in ranks]
        ranks[b.index] = 1 + max((ranks[j] for j in mine), default=-1)
        for j in mine:
            users[j].append(b.index)
    for b in reversed(boxes):
        if users[b.index]:
            ranks[b.index] = min(ranks[j] for j in users[b.index]) - 1
    return ranks


def _chain(start: _Spot, end: _Spot) -> list[_Spot]:
    return [start, *(_Spot(rank, BEND_WIDTH) for rank in range(start.rank + 1, end.rank)), end]


def _rows(spots: Sequence[_Spot]) -> list[list[_Spot]]:
    rows: list[list[_Spot]] = [[] for _ in range(1 + max((s.rank for s in spots), default=-1))]
    for s in spots:
        rows[s.rank].append(s)
    for row in rows:
        _spread(row, [0.0] * len(row))
    return rows


def _sweep(rows: list[list[_Spot]], chains: Sequence[Sequence[_Spot]]) -> None:
    """Down and up in turns: each spot moves to the mean of its neighbours on one side; at the end on both."""
    above, below = defaultdict(list), defaultdict(list)
    for chain in chains:
        for a, b in pairwise(chain):
            below[a].append(b)
            above[b].append(a)
    for sweep in range(N_SWEEPS):
        down, last = sweep % 2 == 0, sweep >= N_SWEEPS - 4
        for row in rows if down else reversed(rows):
            wanted = {s: _wish(s, [above[s], below[s]] if last else [above[s] if down else below[s]]) for s in row}
            if not last:
                row.sort(key=lambda s, wanted=wanted: wanted[s])
            _spread(row, [wanted[s] for s in row])


def _wish(s: _Spot, sides: Sequence[Sequence[_Spot]]) -> float:
    near = [t.x for side in sides for t in side]
    return sum(near) / len(near) if near else s.x


def _spread(row: Sequence[_Spot], wanted: Sequence[float]) -> None:
    """The places nearest to the wanted ones, in the least squares, that keep order and distance."""
    blocks: list[list[float]] = []  # sum of offsets from where the block begins, members, first member's shift
    shift, shifts = 0.0, []
    for i, s in enumerate(row):
        shift += (row[i - 1].width + s.width) / 2 + GAP if i else 0.0
        shifts.append(shift)
        blocks.append([wanted[i] - shift, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    starts = [total / n for total, n in blocks for _ in range(int(n))]
    for s, start, shift in zip(row, starts, shifts, strict=True):
        s.x = start + shift
