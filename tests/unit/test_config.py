"""Environment variables: their values, their mistakes, and the page that lists them."""

import re
from pathlib import Path

import pytest
from vkrun.runtime import config
from vkrun.runtime.errors import UsageError


def test_nothing_set_is_the_default() -> None:
    assert config.read({}) == config.Config()


def test_values() -> None:
    wanted = config.read(
        {"VKRUN_DEBUG": "3", "VKRUN_VALIDATE": "1", "VKRUN_NO_SUBGROUP": "1", "VKRUN_NO_FP16": "0", "VKRUN_DEVICE": "1"}
    )
    assert (wanted.debug, wanted.validate, wanted.device, wanted.off) == (3, True, "1", frozenset({"SUBGROUP"}))
    assert not wanted.has("SUBGROUP") and wanted.has("FP16")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VKRUN_DEBUG", "5"),
        ("VKRUN_DEBUG", "much"),
        ("VKRUN_DEBUG", "nan"),
        ("VKRUN_VALIDATE", "yes"),
        ("VKRUN_NO_COOPMAT", "off"),
        ("VKRUN_SUBMIT_GFLOP", "0"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}: expected"):
        config.read({name: value})


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"VKRUN_CACHE_DIR": "/c"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/vkrun"),
        ({"HOME": "/h"}, "/h/.cache/vkrun"),
        ({"HOME": ""}, None),
        ({"XDG_CACHE_HOME": "relative"}, None),
        ({}, None),
    ],
)
def test_where_caches_go(environ: dict[str, str], wanted: str | None) -> None:
    assert config.read(environ).cache_dir == (Path(wanted) if wanted else None)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"HOME": "/h"}, "/h/.local/share/vkrun"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/d"}, "/d/vkrun"),
        ({"HOME": ""}, None),
        ({}, None),
        ({"HOME": "relative"}, None),
    ],
)
def test_where_the_history_goes(environ, wanted):
    got = config.data_dir(environ)
    assert (None if got is None else str(got)) == wanted


def test_misspelt_variables_are_found() -> None:
    environ = {"VKRUN_NO_SUBGROUPS": "1", "VKRUN_DEBUG": "1", "HOME": "/h"}
    assert config.unknown(environ) == ["VKRUN_NO_SUBGROUPS"]


def test_notes_go_to_stderr_from_their_level_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VKRUN_DEBUG", "2")
    config.note(2, "said")
    config.note(3, "not said")
    assert capsys.readouterr() == ("", "vkrun: said\n")


def test_the_page_lists_every_variable() -> None:
    page = (Path(config.__file__).parents[1] / "docs" / "environment.md").read_text()
    rows = dict(line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `"))
    switches = {f"`VKRUN_NO_{name}`": what for name, what in config.SWITCHES.items()}
    variables = {f"`{name}`": what for name, what in (config.VARIABLES | config.SETUP_VARIABLES).items()}
    assert rows == variables | switches


def test_no_other_module_reads_the_environment() -> None:
    root = Path(config.__file__).parents[1]
    files = [p for folder in ("runtime", "backends", "shaders") for p in (root / folder).rglob("*.py")]
    reading = {
        p.relative_to(root).as_posix() for p in files if re.search(r"os\.environ|getenv|environb", p.read_text())
    }
    assert reading == {"runtime/config.py"}


def test_every_switch_is_asked_for_somewhere() -> None:
    root = Path(config.__file__).parents[1]
    sources = [p for folder in ("runtime", "backends", "shaders") for p in (root / folder).rglob("*.py")]
    text = "".join(p.read_text() for p in sources if p != Path(config.__file__))
    assert [name for name in config.SWITCHES if f'"{name}"' not in text] == []
