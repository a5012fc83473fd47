"""Numbers as llama-bench takes them: 1,2,4 or 1-8 or 128-512+128 or 128-2048*2."""

import re
from collections.abc import Iterable, Sequence

from ..errors import UsageError

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?:([+*])(\d{1,9}))?)?", re.ASCII)
MAX_NUMBERS = 4096


def numbers(option: str, texts: Iterable[str], low: int, high: int) -> list[int]:
    """Every number of an option that may be repeated. UsageError names the option, what stands there and the limits."""
    found = [n for text in texts for part in text.split(",") for n in _range(option, part.strip())]
    if bad := next((n for n in found if not low <= n <= high), None):
        raise UsageError(f"{option}: {bad}, expected {low} to {high}")
    if len(found) > MAX_NUMBERS:
        raise UsageError(f"{option}: {len(found)} values, expected at most {MAX_NUMBERS}")
    return found


def pairs(option: str, texts: Iterable[str], high: int) -> list[tuple[int, int]]:
    """`512,128`, one pair each time the option is given."""
    found = []
    for text in texts:
        two = numbers(option, [text], 0, high)
        if len(two) != 2:
            raise UsageError(f"{option}: {text!r:.40}, expected two numbers such as 512,128")
        found.append((two[0], two[1]))
    return found


def words(option: str, texts: Iterable[str], known: Sequence[str]) -> list[str]:
    """`f32,f16`: names out of those that are known."""
    found = [part.strip() for text in texts for part in text.split(",")]
    if bad := [word for word in found if word not in known]:
        raise UsageError(f"{option}: {bad[0]!r:.40}, expected {', '.join(known[:-1])} or {known[-1]}")
    return found


def _range(option: str, text: str) -> list[int]:
    """first-last counts by 1, first-last+step adds, first-last*factor multiplies."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"{option}: {text!r:.40}, expected numbers such as 1,2,4 or 1-8 or 128-512+128 or 128-2048*2")
    first, last, sign, step = match[1], match[2] or match[1], match[3] or "+", int(match[4] or 1)
    at, stop, made = int(first), int(last), []
    if stop < at or (sign == "+" and step < 1) or (sign == "*" and (step < 2 or at < 1)):
        raise UsageError(f"{option}: {text!r:.40} never ends or never begins")
    while at <= stop and len(made) <= MAX_NUMBERS:
        made.append(at)
        at = at + step if sign == "+" else at * step
    return made
