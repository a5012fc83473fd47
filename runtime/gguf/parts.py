"""A model in several files, `name-00001-of-00003.gguf` and so on: the first has the keys, each has some tensors."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from ..errors import GGUFError
from .header import Header, TensorInfo
from .keys import GGUFKeys, printable

MOST_PARTS = 1024
PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.\w+)", re.DOTALL)


def paths_of_parts(path: str, header: Header) -> list[str]:
    """The paths of all parts where the file is one of several by its keys; else none. GGUFError if its name does not
    say what its keys do, or if a part is missing."""
    number, count = _place(path, header)
    if count < 2:
        return []
    folder, name = os.path.split(path)
    found = PART_NAME.fullmatch(name)
    if not found or (int(found["number"]), int(found["count"])) != (number + 1, count):
        wanted = f"-{number + 1:05d}-of-{count:05d}.gguf"
        raise GGUFError(f"{printable(path, 500)}: part {number + 1} of {count}, expected a name that ends in {wanted}")
    names = (f"{found['stem']}-{i + 1:05d}-of-{count:05d}{found['ending']}" for i in range(count))
    paths = [os.path.join(folder, each) for each in names]
    if missing := [os.path.basename(p) for p in paths if not os.path.exists(p)]:
        named = printable(", ".join(missing[:4]) + (", ..." if len(missing) > 4 else ""), 500)
        raise GGUFError(f"{printable(path, 500)}: {len(missing)} of {count} parts missing beside it: {named}")
    return paths


def check_parts(headers: Sequence[Header], paths: Sequence[str]) -> None:
    """Each part is what its name says, no tensor stands in two, and all are there."""
    for i, (header, path) in enumerate(zip(headers, paths, strict=True)):
        number, count = _place(path, header)
        if (number, count) != (i, len(paths)):
            said = f"{number + 1} of {count}"
            raise GGUFError(f"{printable(path, 500)}: part {said} by its keys, {i + 1} of {len(paths)} by its name")
    n = sum(len(header.tensors) for header in headers)
    wanted = _keys(headers[0]).get_int("split.tensors.count", n, lo=0)
    if n != wanted:
        raise GGUFError(f"{printable(paths[0], 500)}: {n} tensors in {len(paths)} parts, expected {wanted}")


def merged_tensors(headers: Sequence[Header]) -> dict[str, TensorInfo]:
    """The tensors of all parts, which say what part each is in."""
    made: dict[str, TensorInfo] = {}
    for part, header in enumerate(headers):
        for name, info in header.tensors.items():
            if name in made:
                where = f"part {made[name].part + 1} and in part {part + 1}"
                raise GGUFError(f"tensor {printable(name)}: stands in {where}")
            made[name] = replace(info, part=part) if part else info
    return made


def _place(path: str, header: Header) -> tuple[int, int]:
    """The part's number, from 0, and how many there are."""
    try:
        count = _keys(header).get_int("split.count", 1, lo=0, hi=MOST_PARTS)
        return _keys(header).get_int("split.no", 0, lo=0, hi=max(0, count - 1)), count
    except GGUFError as error:
        raise GGUFError(f"{printable(path, 500)}: {error}") from None


def _keys(header: Header) -> GGUFKeys:
    return GGUFKeys(header.keys, header.types)
