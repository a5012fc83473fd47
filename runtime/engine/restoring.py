"""What a seat begins with: keys and states copied on the device, or brought back from the host."""

from .parked import pieces
from .runner import Runner
from .slots import Seat


def restore(runner: Runner, seat: Seat) -> None:
    """Fill a seat's slots with what its first n_kept tokens left."""
    cache, found = seat.cache.index, seat.parked
    if found.n_kept:
        for start, stop in pieces(seat.n_own, found.n_kept):
            runner.put_keys(cache, start, found.keys(start, stop))
        for start, stop in pieces(found.n_lost, found.n_kept) if runner.ring_nbytes else ():
            runner.put_rings(cache, start, found.ring_keys(start, stop))
        if found.state is not None:
            runner.put_state(seat.state, found.state)
        return
    state = (seat.state_from, seat.state) if seat.state >= 0 else None
    if seat.keys_from is None:
        runner.copy(state)
    else:
        runner.copy(state, (seat.keys_from, cache), seat.n_kept)
