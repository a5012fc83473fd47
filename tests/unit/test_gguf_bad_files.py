"""Damaged and hostile files: each is a GGUFError of one line, soon and without much memory."""

import os
import random
import re
import socket
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.errors import GGUFError
from vkrun.runtime.gguf.describe import key_rows, summary_line, tensor_rows, total_rows
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests import gguf_corpus as corpus

BAD = {bad.name: bad for bad in corpus.bad_files() if not bad.name.startswith("cut_at_")}


def error_line(path: Path | str) -> str:
    """The error's text; one printable line, within a second."""
    start = time.perf_counter()
    with pytest.raises(GGUFError) as caught:
        GGUFFile.open(path)
    assert time.perf_counter() - start < 1
    line = str(caught.value)
    assert line.isprintable() and len(line) < 800
    return line


@pytest.mark.parametrize("name", list(BAD))
def test_bad_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(BAD[name].data)
    with pytest.raises(GGUFError, match=BAD[name].message):
        GGUFFile.open(path)
    assert error_line(path).startswith(f"{path}: ")


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(corpus.good_file())
    GGUFFile.open(path).close()
    cuts = [bad for bad in corpus.bad_files() if bad.name.startswith("cut_at_")]
    assert len(cuts) == len(corpus.good_file())
    for cut in cuts:
        path.write_bytes(cut.data)
        with pytest.raises(GGUFError, match=cut.message):
            GGUFFile.open(path)


def test_no_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("fifo.gguf")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.gguf")
        assert error_line("socket.gguf").startswith("socket.gguf: ")
    assert error_line("fifo.gguf") == "fifo.gguf: a FIFO, expected a GGUF file"
    assert error_line(tmp_path) == f"{tmp_path}: a directory, expected a GGUF file"
    assert error_line("/dev/null") == "/dev/null: a device, expected a GGUF file"


def test_no_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    assert "empty.gguf: an empty file (0 bytes)" in error_line(tmp_path / "empty.gguf")
    assert "No such file" in error_line(tmp_path / "missing.gguf")
    assert "cannot open" in error_line("a\0b")
    assert "\\x1b[31m" in error_line(tmp_path / "\x1b[31m.gguf")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer .*`git lfs pull`"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf\n  <HTML lang=en>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an XML document"),
        (b'{"error":"Entry not found"}', "a JSON text"),
        (struct.pack("<Q", 40) + b'{"model.norm.weight":{"dtype":"F32"', "a safetensors file; `vkrun convert`"),
        (b"PK\3\4\0\0", "a zip archive"),
        (b"\x1f\x8b\x08\0", "a compressed file"),
        (b"tjgg\3\0\0\0", "before August 2023"),
        (bytes(1 << 20), "a download that was not finished"),
        (b"GGU", "starts with b'GGU', expected b'GGUF'"),
        (b"Entry not found", "starts with b'Entr', expected b'GGUF'"),
    ],
)
def test_what_is_taken_for_a_model(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    assert re.search(words, error_line(tmp_path / "m.gguf"))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert error_line(tmp_path / "m.gguf").endswith("cannot open: Permission denied")


def test_disk_error_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    path = tmp_path / "m.gguf"
    path.write_bytes(corpus.good_file())
    with GGUFFile.open(path) as f:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(GGUFError, match=r"tensor b: cannot read at byte .*: Input/output error"):
            f.read(f.tensor("b"))


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(BAD["nested"].data)
    before = len(os.listdir("/proc/self/fd"))
    for bad in (path, tmp_path, path):
        error_line(bad)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", [corpus.U8, corpus.F64, corpus.STRING])
def test_claims_of_a_huge_sparse_file(kind: int, tmp_path: Path) -> None:
    """A hole of a terabyte makes any count believable; the header's own limit must hold."""
    path = tmp_path / "sparse.gguf"
    path.write_bytes(corpus.build([corpus.key("k", corpus.ARRAY, corpus.array(kind, b"", 1 << 34))]))
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    assert "bytes into the header, expected at most" in error_line(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


GOOD = corpus.good_file()
SPECIAL = st.sampled_from([0, 1, 8, 9, 31, 32, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
PATCH = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.builds(lambda v, n: v.to_bytes(8, "little")[:n], SPECIAL, st.sampled_from([1, 4, 8])),
)


def open_and_use(path: Path) -> bool:
    """Everything a tool may do with a file; whether it was accepted. Only a GGUFError may escape, and is caught."""
    try:
        with GGUFFile.open(path) as f:
            for rows in (key_rows(f), tensor_rows(f), total_rows(f)):
                assert all(cell.isprintable() for row in rows for cell in row)
            assert summary_line(f).isprintable()
            for info in f.tensors.values():
                f.read_array(info)
    except GGUFError as error:
        assert str(error).isprintable()
        return False
    return True


@settings(max_examples=600, deadline=None, database=None)
@given(
    patches=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), PATCH), min_size=1, max_size=4), cut=st.integers(0, 9999)
)
def test_mutated_files(patches: list[tuple[int, bytes]], cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    data = bytearray(GOOD)
    for at, patch in patches:
        data[at : at + len(patch)] = patch
    path.write_bytes(data[: cut if cut < len(GOOD) else len(data)])
    tracemalloc.start()
    try:
        open_and_use(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_every_single_byte_replaced(tmp_path: Path) -> None:
    """The structural sweep that chance may miss: each byte of the header set to 0, to 255 and to one at random."""
    path, rng = tmp_path / "swept.gguf", random.Random(0)
    refused = 0
    for at in range(len(GOOD) - 76):
        for value in (0, 255, rng.randrange(256)):
            path.write_bytes(GOOD[:at] + bytes([value]) + GOOD[at + 1 :])
            refused += not open_and_use(path)
    assert refused > 500
