"""Files that spare the next process some work, on disks without room."""

import errno
from pathlib import Path

import pytest
from vkrun.runtime.caches import keep


@pytest.mark.parametrize("step", ["mkdir", "write_bytes", "replace"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    kept = tmp_path / "cache" / "a"
    if step != "mkdir":
        keep(kept, b"old")
    whole = getattr(Path, step)

    def full(path: Path, *data: object, **how: object) -> None:
        if step == "write_bytes":
            whole(path, b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, step, full)
    keep(kept, b"half")
    monkeypatch.undo()
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"old"] * (step != "mkdir")
    keep(kept, b"new")
    assert kept.read_bytes() == b"new"
