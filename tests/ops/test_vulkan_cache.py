"""The pipeline cache on disk: kept, checked, replaced; and doing without."""

import hashlib
from pathlib import Path

import pytest
from vkrun.backends.vulkan import BACKEND, pipeline_cache
from vkrun.backends.vulkan.physical import physicals
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VKRUN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pipelines"


def use_device() -> None:
    device = BACKEND.open(BACKEND.devices()[0])
    g = Graph()
    g.output("y", g.neg(g.input("x", (4,))))
    device.alloc([g.inputs["x"].storage])
    device.compile(make_plan(g)).run()
    device.close()


def kept(data: bytes) -> bytes:
    return pipeline_cache.MAGIC + hashlib.sha256(data).digest() + data


def test_the_cache_is_kept_and_found_again(folder: Path) -> None:
    use_device()
    (file,) = folder.iterdir()
    data = pipeline_cache._load(physicals()[0])
    assert file.read_bytes() == kept(data) and len(data) >= 32
    at = file.stat().st_mtime_ns
    use_device()
    assert [file] == list(folder.iterdir()) and file.stat().st_mtime_ns == at  # nothing new: not written again


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:40],
        lambda b: b[:-1],
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b"another file" + b,
        lambda b: kept(b""),
        lambda b: kept(b[50:70]),
        lambda b: kept(bytes(64)),  # sound, but of no device
        lambda b: kept(b"\xff" * 4096),
    ],
)
def test_a_damaged_cache_is_ignored_and_replaced(folder: Path, damage) -> None:
    use_device()
    (file,) = folder.iterdir()
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert pipeline_cache._load(physicals()[0]) == b""
    use_device()
    assert file.read_bytes() == sound


def test_no_cache_where_there_is_no_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VKRUN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    use_device()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VKRUN_CACHE_DIR", str(tmp_path / "file"))
    use_device()
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_switch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VKRUN_NO_PIPELINE_CACHE", "1")
    use_device()
    assert not folder.exists()
