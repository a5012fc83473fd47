"""Pages that are written from the code are current."""

import runpy
from pathlib import Path

from vkrun.runtime.models import ARCHITECTURES

ROOT = Path(__file__).parents[2]


def test_the_table_of_models_is_current() -> None:
    page = (ROOT / "docs/models.md").read_text()
    assert runpy.run_path(str(ROOT / "tools/reports/models.py"))["page"]() == page, "run tools/reports/models.py"


def test_every_architecture_says_what_people_call_it() -> None:
    assert [name for name, made in ARCHITECTURES.items() if not made.called] == []
