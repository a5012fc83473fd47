"""Every text becomes machine code of three generations of GPUs; no GPU and no driver is needed for it."""

import functools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from vkrun.backends.cuda import api, nvrtc
from vkrun.backends.cuda.kernels import ENTRY, KernelKey
from vkrun.backends.cuda.physical import MATRICES
from vkrun.runtime.errors import BackendError
from vkrun.runtime.optable.run import prepare
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders import catalogue
from vkrun.shaders.compile import Defines
from vkrun.shaders.kernel import Features, Variant
from vkrun.shaders.texts import text

ARCHITECTURES = "sm_75", "sm_90", "sm_120"
SHARES = 4
COPY = "copy", (("SRC", "F32"), ("DST", "F16"))


def why_missing() -> str:
    try:
        nvrtc.version()
    except BackendError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing())


@functools.cache
def used() -> dict[Variant, KernelKey]:
    """Of each variant that a case of the op table takes, with the constants of one."""
    own = {"float16": True, "int_dot": True, "cooperative_matrix": MATRICES, "delta_chunks": True}
    features = Features(subgroup_size=32, shared_nbytes=49152, max_workgroup=1024, **own)
    nodes = (prepare(case).node for case in cases_for(False, None))
    calls = [catalogue.lower(node, features) for node in nodes if not catalogue.refusal(node, features)]
    return {(call.code.stem, call.code.defines): KernelKey(call.code, False) for call in calls if call}


def untyped(variant: Variant) -> Variant:
    """Types of weights change no constant."""
    return variant[0], tuple(d for d in variant[1] if not d[0].startswith(("TYPE_", "SECOND_")))


def source(variant: Variant) -> str:
    """With constants of the op table, be it for other weights; or the text's own."""
    found = used().get(variant) or next((key for v, key in used().items() if untyped(v) == untyped(variant)), None)
    return replace(found, code=replace(found.code, defines=variant[1])).source() if found else plain(*variant)


def plain(stem: str, defines: Defines, before: str = "") -> str:
    return f'{before}#include "cuda.h"\n{text(stem, defines)}'


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_text_becomes_machine_code(arch: str, share: int, full: bool) -> None:
    """Of each architecture and share a spread, or with --full all."""
    mine = list(dict.fromkeys(catalogue.variants()))[share::SHARES]
    mine = mine if full else mine[ARCHITECTURES.index(arch) :: len(mine) // 6]
    assert len(mine) > 5
    for variant in mine:
        code = nvrtc._compile(str(variant), source(variant), arch)
        assert code.startswith(nvrtc.ELF_MAGIC) and ENTRY in code, variant


def test_kernels_of_branches_wait_before_they_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """PTX rather than a cubin, so that it can be read: the wait comes before the first load from memory."""
    compiler = api.compiler
    monkeypatch.setattr(api, "compiler", lambda name, *a: compiler(name.replace("CUBIN", "PTX"), *a))
    ptx = nvrtc._compile("copy", plain(*COPY, "#define VK_BRANCH\n"), "compute_90").decode()
    steps = re.findall(r"griddepcontrol\.wait|ld\.global|st\.global|launch_dependents", ptx)
    assert steps[0] == "griddepcontrol.wait" and steps.count("griddepcontrol.wait") == 1
    assert steps[1] == "ld.global" and "launch_dependents" not in steps


def test_an_error_names_the_shader_and_its_line() -> None:
    at = "gl_WorkGroupID.x"
    lines = (Path(catalogue.__file__).parent / "common" / "common.glsl").read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if at in line)
    with pytest.raises(
        BackendError, match=rf"^cuda: shader copy \(x\): common/common\.glsl\({number}\): error: .*gl_No"
    ):
        nvrtc._compile("copy (x)", plain(*COPY).replace(at, "gl_No.x"), "sm_90")


def test_the_newest_architecture_that_both_know_is_taken() -> None:
    assert nvrtc.architecture((9, 0)) == "sm_90" and nvrtc.architecture((8, 7)) in ("sm_86", "sm_87")
    with pytest.raises(BackendError, match=r"^NVRTC \d+\.\d+ knows nothing of compute capability 3\.5; another"):
        nvrtc.architecture((3, 5))
