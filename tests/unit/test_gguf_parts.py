"""Models in several files."""

from pathlib import Path

import numpy as np
import pytest
from vkrun.runtime.errors import GGUFError
from vkrun.runtime.gguf.describe import summary_line
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests.rewriting import Contents, Stored

TENSORS = {f"t{i}": Stored.floats(np.full((2, 8), i)) for i in range(7)}
WHOLE = Contents({"general.architecture": ("llama", "string"), "a.b": (7, "uint32")}, TENSORS)


@pytest.mark.parametrize("sizes", [(3, 2, 2), (0, 7), (7, 0), (1,) * 7], ids=str)
def test_any_part_may_be_named(sizes: tuple[int, ...], tmp_path: Path) -> None:
    paths = WHOLE.write_parts(tmp_path, sizes)
    for path in paths:
        with GGUFFile.open(path) as f:
            assert f.get_int("a.b") == 7 and f.path == str(paths[0]) and f.n_parts == len(sizes)
            assert f.size == sum(p.stat().st_size for p in paths)
            assert {name: f.read_array(t)[0, 0] for name, t in f.tensors.items()} == {f"t{i}": i for i in range(7)}
            assert f", {len(sizes)} files, " in summary_line(f)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    first, second, third = WHOLE.write_parts(tmp_path, (3, 2, 2))
    second.unlink()
    for path in (first, third):
        with pytest.raises(GGUFError, match=r": 1 of 3 parts missing beside it: parts-00002-of-00003\.gguf$"):
            GGUFFile.open(path)


def test_names_and_keys_must_agree(tmp_path: Path) -> None:
    first, second = WHOLE.write_parts(tmp_path, (3, 4))
    bytes_of = first.read_bytes(), second.read_bytes()
    second.write_bytes(bytes_of[0])
    with pytest.raises(GGUFError, match=r"part 1 of 2 by its keys, 2 of 2 by its name"):
        GGUFFile.open(first)
    with pytest.raises(GGUFError, match=r"part 1 of 2, expected a name that ends in -00001-of-00002\.gguf"):
        GGUFFile.open(second)
    renamed = tmp_path / "model.gguf"
    renamed.write_bytes(bytes_of[1])
    with pytest.raises(GGUFError, match=r"model\.gguf: part 2 of 2, expected a name"):
        GGUFFile.open(renamed)


def test_tensors_are_counted_and_stand_once(tmp_path: Path) -> None:
    first, second = WHOLE.write_parts(tmp_path, (3, 4))
    other = tmp_path / "other"
    other.mkdir()
    fewer = Contents(WHOLE.keys, dict(list(TENSORS.items())[:6])).write_parts(other, (3, 3))[1]
    second.write_bytes(fewer.read_bytes())
    with pytest.raises(GGUFError, match=r"6 tensors in 2 parts, expected 7"):
        GGUFFile.open(first)
    twice = Contents(WHOLE.keys, {**dict(list(TENSORS.items())[3:6]), **TENSORS}).write_parts(other, (0, 7))[1]
    second.write_bytes(twice.read_bytes())
    with pytest.raises(GGUFError, match=r"10 tensors in 2 parts, expected 7"):
        GGUFFile.open(first)


def test_a_tensor_in_two_parts(tmp_path: Path) -> None:
    first, second = WHOLE.write_parts(tmp_path, (3, 4))
    other = tmp_path / "other"
    other.mkdir()
    swapped = dict(zip(["a", "b", "c", "t0", "t4", "t5", "t6"], TENSORS.values(), strict=True))
    second.write_bytes(Contents(WHOLE.keys, swapped).write_parts(other, (3, 4))[1].read_bytes())
    with pytest.raises(GGUFError, match=r"tensor t0: stands in part 1 and in part 2"):
        GGUFFile.open(first)
    assert first.stat().st_size


def test_a_bad_part_is_named(tmp_path: Path) -> None:
    first, second = WHOLE.write_parts(tmp_path, (3, 4))
    second.write_bytes(second.read_bytes()[:-8])
    with pytest.raises(GGUFError, match=r"parts-00002-of-00002\.gguf: tensor t6: ends at byte"):
        GGUFFile.open(first)
    with GGUFFile.open(first, header_only=True) as f:
        assert len(f.tensors) == 7


def test_counts_that_cannot_be(tmp_path: Path) -> None:
    for count, number in ((70000, 0), (2, 2), (2, -1)):
        keys = {**WHOLE.keys, "split.count": (count, "int32"), "split.no": (number, "int32")}
        path = Contents(keys, TENSORS).write(tmp_path / "m.gguf")
        with pytest.raises(GGUFError, match=r"m\.gguf: split\.(count|no): -?\d+, expected"):
            GGUFFile.open(path)
