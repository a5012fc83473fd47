"""shaders/preludes: the texts are CUDA C++ too, as far as a compiler can tell; the host's are run by tests/ops."""

import shutil
import subprocess
from pathlib import Path

import pytest
from vkrun.shaders import catalogue, translate
from vkrun.shaders.kernel import Variant
from vkrun.shaders.translate import OutsideSubsetError

PRELUDES = Path(translate.__file__).parent.parent / "preludes"
NVCC = ("nvcc", "-std=c++17", "-cubin", "--ftz=true", "-w", f"-I{PRELUDES}")

pytestmark = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")


def texts(full: bool) -> list[tuple[Variant, str]]:
    """Those of a variant of every shader, or of a few that use all that a prelude has."""
    few = [("delta_chunks", ()), ("route", (("SUBGROUPS", ""),)), ("copy", (("SRC", "F32"), ("DST", "F16")))]
    found = []
    for variant in {stem: (stem, defines) for stem, defines in catalogue.variants()}.values() if full else few:
        try:
            found.append((variant, translate.translate(*variant)))
        except OutsideSubsetError:
            continue  # a kernel of an API's own units, as tests/unit/test_translate.py holds
    return found


def errors(text: str, folder: Path, *options: str) -> str:
    (folder / "kernel.cu").write_text(f'#include "cuda.h"\n{text}')
    command = [*NVCC, *options, str(folder / "kernel.cu"), "-o", str(folder / "kernel.cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stderr if done.returncode else ""


def test_cuda_takes_every_text(full: bool, tmp_path: Path) -> None:
    failed = [(variant, why) for variant, text in texts(full) if (why := errors(text, tmp_path, "-arch=sm_75"))]
    assert failed == []


def test_cuda_takes_a_branch_and_dependent_launch(tmp_path: Path) -> None:
    text = translate.translate("copy", (("SRC", "F32"), ("DST", "F16")))
    assert errors(text, tmp_path, "-arch=sm_90", "-DVK_BRANCH") == ""
