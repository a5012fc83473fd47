"""Every text becomes machine code of three generations of GPUs; no GPU and no driver is needed for it."""

import functools
import re

import pytest
from vkrun.backends.cuda import api, nvrtc
from vkrun.backends.cuda.kernels import ENTRY, KernelKey
from vkrun.runtime.errors import BackendError
from vkrun.runtime.optable.run import prepare
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders import catalogue
from vkrun.shaders.kernel import Features
from vkrun.shaders.translate import OutsideSubsetError

ARCHITECTURES = "sm_75", "sm_90", "sm_120"
SHARES = 4
COPY = KernelKey("copy", (("SRC", "F32"), ("DST", "F16")), (), branches=True)


def why_missing() -> str:
    try:
        nvrtc.version()
    except BackendError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing())


@functools.cache
def keys() -> list[KernelKey]:
    """One of each variant, with constants of the op table where a case takes it."""
    features = Features(subgroup_size=32, shared_nbytes=49152, max_workgroup=1024, delta_chunks=True)
    nodes = (prepare(case).node for case in cases_for(False, None))
    calls = [catalogue.lower(node, features) for node in nodes if not catalogue.refusal(node, features)]
    used = {(call.stem, call.defines): KernelKey.of(call, False) for call in calls if call}
    return [used.get(v) or KernelKey(*v, (), False) for v in dict.fromkeys(catalogue.variants())]


def source(key: KernelKey) -> str:
    """Empty where there is none: kernels of an API's own units, as tests/unit/test_translate.py holds."""
    try:
        return key.source()
    except OutsideSubsetError:
        return ""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_text_becomes_machine_code(arch: str, share: int, full: bool) -> None:
    """Of each architecture and share a spread, or with --full all."""
    mine = keys()[share::SHARES]
    mine = mine if full else mine[ARCHITECTURES.index(arch) :: len(mine) // 6]
    texts = {key: text for key in mine if (text := source(key))}
    assert len(texts) > len(mine) // 2
    for key, text in texts.items():
        made = nvrtc._compile(key.title, text, arch)
        assert made.startswith(nvrtc.ELF_MAGIC) and ENTRY in made, key.title


def test_kernels_of_branches_wait_before_they_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """PTX rather than a cubin, so that it can be read: the wait comes before the first load from memory."""
    compiler = api.compiler
    monkeypatch.setattr(api, "compiler", lambda name, *a: compiler(name.replace("CUBIN", "PTX"), *a))
    ptx = nvrtc._compile(COPY.title, COPY.source(), "compute_90").decode()
    steps = re.findall(r"griddepcontrol\.wait|ld\.global|st\.global|launch_dependents", ptx)
    assert steps[0] == "griddepcontrol.wait" and steps.count("griddepcontrol.wait") == 1
    assert steps[1] == "ld.global" and "launch_dependents" not in steps


def test_an_error_names_the_shader_and_its_line() -> None:
    broken = COPY.source().replace("gl_WorkGroupID.x", "gl_Nothing.x")
    with pytest.raises(BackendError, match=r"^cuda: shader copy.*: .*common\.glsl\(9\): error: .*gl_Nothing"):
        nvrtc._compile(COPY.title, broken, "sm_90")


def test_the_newest_architecture_that_both_know_is_taken() -> None:
    assert nvrtc.architecture((9, 0)) == "sm_90" and nvrtc.architecture((8, 7)) in ("sm_86", "sm_87")
    with pytest.raises(BackendError, match=r"^NVRTC \d+\.\d+ knows nothing of compute capability 3\.5; another"):
        nvrtc.architecture((3, 5))
