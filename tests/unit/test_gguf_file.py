"""The GGUF reader on sound files: against gguf's writer, key by key and tensor by tensor."""

import os
import threading
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from vkrun.runtime.errors import GGUFError, UsageError
from vkrun.runtime.gguf import file as module
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.quants import random_blocks
from vkrun.tests import gguf_corpus as corpus
from vkrun.tests.rewriting import in_file
from vkrun.tests.slowness import slowness


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.gguf"
    path.write_bytes(corpus.good_file())
    return path


def write_with_gguf(path: Path, tensors: dict[str, tuple[np.ndarray, DType]], alignment: int | None = None) -> None:
    """Tensors as file bytes [..., row bytes] with their type."""
    writer = gguf.GGUFWriter(path, "test")
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_uint32("test.block_count", 4)
    writer.add_array("test.names", ["a", "é", ""])
    for name, (raw, dtype) in tensors.items():
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType(dtype.gguf_id))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("dtype", list(DType), ids=lambda d: d.name)
def test_every_type_reads_back(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(dtype.gguf_id)
    raw = in_file(random_blocks(dtype, 6, 512, rng), dtype).reshape(2, 3, -1)
    path = tmp_path / "m.gguf"
    write_with_gguf(path, {"first": (raw[0], dtype), "w": (raw, dtype)}, alignment=64)
    with GGUFFile.open(path) as f:
        info = f.tensor("w", (2, 3, 512))
        assert (info.dtype, info.nbytes, info.offset % 64, f.alignment) == (dtype, raw.nbytes, 0, 64)
        assert f.read(info).tobytes() == raw.tobytes()
        values = f.read_array(info)
        assert values.dtype == dtype.numpy and values.tobytes() == raw.tobytes()
        assert values.shape == ((2, 3, raw.shape[-1]) if dtype.is_quantised else (2, 3, 512))
        assert f.tensor("first").shape == (3, 512)


def test_agrees_with_ggufs_reader(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    rng = np.random.default_rng(1)
    kinds = [DType.F32, DType.Q4_0, DType.BF16, DType.Q6_K, DType.MXFP4]
    write_with_gguf(path, {d.name: (random_blocks(d, 5, 256, rng), d) for d in kinds})
    theirs = {t.name: t for t in gguf.GGUFReader(path).tensors}
    with GGUFFile.open(path) as f:
        assert list(f.tensors) == list(theirs)
        for name, info in f.tensors.items():
            assert info.offset == theirs[name].data_offset
            assert info.shape == tuple(reversed(theirs[name].shape.tolist()))
            assert f.read(info).tobytes() == theirs[name].data.tobytes()


def test_keys_of_every_type(good: Path) -> None:
    with GGUFFile.open(good) as f:
        assert f.version == 3 and f.size == good.stat().st_size and f.path == str(good)
        expected = [200, -3, 60000, -300, 2**31, -7, 0.5, True, 2**40, -(2**40), 0.25]
        numbers = {key: value for key, value in f.keys.items() if key.startswith("n.")}
        assert list(numbers.values()) == expected
        assert [type(v) for v in numbers.values()] == [type(v) for v in expected]
        for key, value in numbers.items():
            array = f.keys["a" + key[1:]]
            assert isinstance(array, np.ndarray) and array.tolist() == [value, value]
            assert f.types["a" + key[1:]] == f"array of {f.types[key]}"
        assert f.types["n.4"] == "uint32" and f.types["tokens"] == "array of string"
        assert f.keys["general.architecture"] == "test"


def test_strings_keep_their_bytes(good: Path) -> None:
    with GGUFFile.open(good) as f:
        assert [t.encode("utf-8", "surrogateescape") for t in f.get_strs("tokens")] == [b"ab", b"", b"\xff\xc3"]


def test_version_2_and_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "v2.gguf"
    path.write_bytes(corpus.build([corpus.key("k", corpus.U8, b"\7")], version=2, alignment=1))
    with GGUFFile.open(path) as f:
        assert (f.version, f.get_int("k"), dict(f.tensors)) == (2, 7, {})


def test_mappings_and_arrays_cannot_be_changed(good: Path) -> None:
    with GGUFFile.open(good) as f:
        with pytest.raises(TypeError):
            f.keys["n.0"] = 1  # pyright: ignore[reportIndexIssue]
        with pytest.raises(ValueError, match="read-only"):
            f.keys["a.4"][0] = 1  # pyright: ignore[reportIndexIssue, reportArgumentType, reportCallIssue]


def test_partial_reads(good: Path) -> None:
    with GGUFFile.open(good) as f:
        info = f.tensor("a.weight")
        assert f.read(info).tolist() == list(range(36))
        assert f.read(info, start=30).tolist() == list(range(30, 36))
        assert f.read(info, start=5, nbytes=4).tolist() == [5, 6, 7, 8]
        assert f.read(info, start=36).size == 0
        staging = np.full(64, 255, np.uint8)
        assert np.shares_memory(f.read(info, out=staging, start=4, nbytes=3), staging)
        assert staging[:4].tolist() == [4, 5, 6, 255]
        view = bytearray(8)
        f.read_into(info, memoryview(view)[2:6], start=32)
        assert view == bytes([0, 0, 32, 33, 34, 35, 0, 0])


def test_reads_beyond_the_tensor_are_refused(good: Path) -> None:
    with GGUFFile.open(good) as f:
        info = f.tensor("a.weight")
        for start, nbytes in ((0, 37), (37, None), (-1, 4), (0, -1), (30, 7)):
            with pytest.raises(UsageError, match="expected within 0 to 36"):
                f.read(info, start=start, nbytes=nbytes)
        with pytest.raises(UsageError, match="expected within 0 to 36"):
            f.read_into(info, memoryview(bytearray(5)), start=32)
        for out in (np.empty(3, np.uint8), np.empty(64, np.float32), np.empty((64, 1), np.uint8)):
            with pytest.raises(UsageError, match="expected uint8"):
                f.read(info, out=out)


def test_reads_without_preadv_give_the_same(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GGUFFile.open(good) as f:
        info = f.tensor("a.weight")
        expected = f.read(info, start=3).tolist()
        monkeypatch.delattr(module.os, "preadv")
        assert f.read(info, start=3).tolist() == expected


def test_threads_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_with_gguf(
        path, {str(i): (random_blocks(DType.F32, 8, 1024, np.random.default_rng(i)), DType.F32) for i in range(8)}
    )
    with GGUFFile.open(path) as f:
        expected = {name: f.read(info).tobytes() for name, info in f.tensors.items()}
        wrong: list[str] = []

        def read_all() -> None:
            wrong.extend(n for _ in range(20) for n, t in f.tensors.items() if f.read(t).tobytes() != expected[n])

        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_truncated_while_open(good: Path) -> None:
    with GGUFFile.open(good) as f:
        os.truncate(good, f.tensor("b").offset + 5)
        with pytest.raises(
            GGUFError, match=rf"tensor b: file ends at byte {f.tensor('b').offset + 5}, expected {f.size}"
        ):
            f.read_array(f.tensor("b"))
        assert f.read(f.tensor("a.weight")).size == 36


def test_read_after_close(good: Path) -> None:
    f = GGUFFile.open(good)
    f.close()
    f.close()
    with pytest.raises(UsageError, match="after close"):
        f.read(f.tensor("b"))


def test_header_only(tmp_path: Path) -> None:
    path = tmp_path / "header.gguf"
    path.write_bytes(corpus.build([], [corpus.tensor("w", (4096, 4096), 2)]))
    with pytest.raises(GGUFError, match="tensor w: ends at byte"):
        GGUFFile.open(path)
    with GGUFFile.open(path, header_only=True) as f:
        assert f.tensor("w").nbytes == 4096 * 4096 * 18 // 32
        with pytest.raises(GGUFError, match="tensor w: file ends"):
            f.read(f.tensor("w"), nbytes=16)


def test_sparse_file(tmp_path: Path) -> None:
    """A hole of 64 GiB is data like any other, and opening it costs nothing."""
    path = tmp_path / "sparse.gguf"
    path.write_bytes(corpus.build([], [corpus.tensor("w", (1 << 20, 1 << 14))]))
    os.truncate(path, path.stat().st_size + (1 << 36))
    with GGUFFile.open(path) as f:
        assert f.read(f.tensor("w"), start=(1 << 36) - 4).tolist() == [0] * 4


def test_tensors_of_a_model(good: Path) -> None:
    with GGUFFile.open(good) as f:
        assert f.tensor("a.weight", (2, 32)).dtype is DType.Q4_0
        with pytest.raises(GGUFError, match=r"^a\.weight: shape \(2, 32\), expected \(32, 2\)$"):
            f.tensor("a.weight", (32, 2))
        with pytest.raises(GGUFError, match=r"^c\.weight: missing tensor, expected shape \(4,\)$"):
            f.tensor("c.weight", (4,))
        with pytest.raises(GGUFError, match=r"^c: missing tensor$"):
            f.tensor("c")


def test_axes_of_1_make_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "ones.gguf"
    tensors = [corpus.tensor("v", (4, 1), 0), corpus.tensor("q", (32, 1, 2), 2, offset=32)]
    path.write_bytes(corpus.build([], tensors, bytes(32 + 36)))
    with GGUFFile.open(path) as f:
        assert f.tensors["v"].shape == (1, 4)
        for shape in ((4,), (1, 4), (4, 1), (1, 4, 1)):
            assert f.tensor("v", shape).shape == shape
            assert f.read_array(f.tensor("v", shape)).shape == shape
        assert f.tensor("q", (2, 32)).nbytes == 36
        with pytest.raises(GGUFError, match=r"q: shape \(2, 1, 32\), expected \(2, 32, 1\)"):
            f.tensor("q", (2, 32, 1))
        for shape in ((2, 2), (8,), ()):
            with pytest.raises(GGUFError, match="v: shape"):
                f.tensor("v", shape)


def test_large_vocabulary_parses_fast(tmp_path: Path) -> None:
    path, n = tmp_path / "vocab.gguf", 150_000
    words = [f"Ġtoken{i * 7919 % 1_000_003}" for i in range(n)]
    writer = gguf.GGUFWriter(path, "test")
    writer.add_token_list(words)
    writer.add_token_scores([float(-i) for i in range(n)])
    writer.add_token_types([1] * n)
    writer.add_token_merges([f"{a[:4]} {a[4:]}" for a in words])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    seconds = []
    for _ in range(3):
        start = time.process_time()  # and the least, since others may be using the machine
        GGUFFile.open(path).close()
        seconds.append((time.process_time() - start) / slowness())
    assert min(seconds) < 0.5, seconds
    with GGUFFile.open(path) as f:
        assert f.get_strs("tokenizer.ggml.tokens") == words
        assert f.get_floats("tokenizer.ggml.scores")[-1] == 1 - n
