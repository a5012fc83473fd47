"""What is said of what the system refuses, and of packages that are missing."""

from pathlib import Path

import pytest
from vkrun.runtime import extras
from vkrun.runtime.convert.checkpoint import read_json
from vkrun.runtime.errors import ConvertError, reason


def test_what_the_system_says_comes_without_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "gone").read_text()
    assert reason(caught.value) == "No such file or directory"
    assert (reason(ValueError("of ours")), reason(TimeoutError())) == ("of ours", "TimeoutError")


def test_a_checkpoint_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ConvertError) as caught:
        read_json(path)
    assert str(caught.value) == f"{path}: No such file or directory"


@pytest.mark.parametrize("is_checkout", [False, True])
def test_a_checkout_brings_its_own_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_checkout: bool) -> None:
    root = tmp_path / "a b"
    root.mkdir()
    if is_checkout:
        (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(extras, "ROOT", root)
    monkeypatch.setattr(extras.sys, "executable", "/some/python")
    extras.brought_by.cache_clear()
    wanted = f"/some/python -m pip install -e '{root}[server]'" if is_checkout else "pip install 'vkrun[server]'"
    assert extras.brought_by("server") == wanted
    extras.brought_by.cache_clear()
