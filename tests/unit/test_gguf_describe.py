"""The rows that `vkrun inspect` prints."""

from pathlib import Path

import pytest
from vkrun.runtime.gguf.describe import key_rows, size_text, summary_line, tensor_rows, total_rows
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests import gguf_corpus as corpus


def open_bytes(data: bytes, tmp_path: Path) -> GGUFFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    return GGUFFile.open(path)


def test_keys(tmp_path: Path) -> None:
    with open_bytes(corpus.good_file(), tmp_path) as f:
        rows = {name: (kind, value) for name, kind, value in key_rows(f)}
        assert list(rows) == list(f.keys)
        assert rows["n.0"] == ("uint8", "200")
        assert rows["n.6"] == ("float32", "0.5")
        assert rows["n.7"] == ("bool", "true")
        assert rows["a.7"] == ("array of bool [2]", "true, true")
        assert rows["a.1"] == ("array of int8 [2]", "-3, -3")
        assert rows["general.architecture"] == ("string", "test")
        assert rows["tokens"] == ("array of string [3]", '"ab", "", "\\xff\\xc3"')


def test_long_and_hostile_values(tmp_path: Path) -> None:
    numbers = b"".join(corpus.number(corpus.U32, i) for i in range(100))
    keys = [
        corpus.key("long", corpus.ARRAY, corpus.array(corpus.U32, numbers, 100)),
        corpus.key("text", corpus.STRING, corpus.string("x" * 5000)),
        corpus.key("esc\x1b]0;t\x07", corpus.STRING, corpus.string("\x1b[31mred\r\nnext")),
        corpus.key("words", corpus.ARRAY, corpus.array(corpus.STRING, corpus.string("\x1b[2J"), 1)),
    ]
    with open_bytes(corpus.build(keys), tmp_path) as f:
        rows = key_rows(f)
    assert rows[0] == ("long", "array of uint32 [100]", "0, 1, 2, 3, 4, 5, …")
    assert len(rows[1][2]) == 101
    assert rows[2] == ("esc\\x1b]0;t\\x07", "string", "\\x1b[31mred\\r\\nnext")
    assert rows[3][2] == '"\\x1b[2J"'


def test_tensors_and_totals(tmp_path: Path) -> None:
    entries = [corpus.tensor("a", (64, 2), 2), corpus.tensor("b", (3,), 0, 96), corpus.tensor("c\n", (64, 64), 2, 128)]
    with open_bytes(corpus.build([], entries, bytes(4096)), tmp_path) as f:
        assert tensor_rows(f) == [
            ("a", "2 x 64", "Q4_0", "72 B"),
            ("b", "3", "F32", "12 B"),
            ("c\\n", "64 x 64", "Q4_0", "2.2 KiB"),
        ]
        assert total_rows(f) == [
            ("Q4_0", "2", "4,224", "2.3 KiB"),
            ("F32", "1", "3", "12 B"),
            ("all", "3", "4,227", "2.3 KiB"),
        ]


def test_summary(tmp_path: Path) -> None:
    with open_bytes(corpus.good_file(), tmp_path) as f:
        n_keys, size = len(f.keys), size_text(f.size)
        assert summary_line(f) == f"{tmp_path}/m.gguf: GGUF v3, test, {n_keys} keys, 2 tensors, {size}"
    with open_bytes(corpus.build(), tmp_path) as f:
        assert "no architecture, 0 keys, 0 tensors" in summary_line(f)
        assert total_rows(f) == [("all", "0", "0", "0 B")]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (45 << 30, "45.0 GiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes(nbytes: int, text: str) -> None:
    assert size_text(nbytes) == text
