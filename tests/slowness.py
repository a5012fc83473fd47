"""How slow the machine is just now, for tests that hold a time: neighbours stretch its processor time too."""

import time

USUAL_S = 0.15  # of what follows, on a quiet machine, where the limits that tests name hold


def slowness() -> float:
    """How many times as long as usual Python takes to make words and look them up; at least 1."""
    start, n = time.process_time(), 200_000
    places = {f"{i * 7919 % 1_000_003} word": i for i in range(n)}
    assert sum(places[f"{i * 7919 % 1_000_003} word"] for i in range(n)) == n * (n - 1) // 2
    return max(1.0, (time.process_time() - start) / USUAL_S)
