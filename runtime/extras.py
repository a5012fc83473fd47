"""What brings the packages of an extra: said wherever one is missing."""

import shlex
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def brought_by(extra: str) -> str:
    """The command for the Python that runs. A checkout brings its own: no registry may know what is in it."""
    if not (ROOT / "pyproject.toml").exists():
        return f"pip install 'vkrun[{extra}]'"
    return f"{shlex.quote(sys.executable)} -m pip install -e {shlex.quote(f'{ROOT}[{extra}]')}"
