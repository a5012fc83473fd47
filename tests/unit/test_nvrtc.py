"""Every text becomes machine code of three generations of GPUs; no GPU and no driver is needed for it."""

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from time import thread_time

import pytest
from vkrun.backends.cuda import api, nvrtc
from vkrun.backends.cuda.kernels import ENTRY, KernelKey
from vkrun.backends.cuda.physical import MATRICES
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders import catalogue
from vkrun.shaders.compile import Defines
from vkrun.shaders.interface import of_text
from vkrun.shaders.kernel import Features, Variant
from vkrun.shaders.matmul import matrix_tiles
from vkrun.shaders.matmul.matrix_tiles import WARPGROUP_EXPERT_TILES, WARPGROUP_TILES, Tile
from vkrun.shaders.texts import text
from vkrun.tests.nodes import bare
from vkrun.tests.untyped import flagged, typed, untyped

ARCHITECTURES = "sm_75", "sm_90a", "sm_120"
SHARES = 4
MOST_SECONDS = 10.0  # of a processor for one kernel, of which a first start compiles some dozens; 0.6 is usual
COPY = "copy", (("SRC", "F32"), ("DST", "F16"))


def why_missing() -> str:
    try:
        nvrtc.version()
    except BackendError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing())


OWN = Features(32, True, True, MATRICES, shared_nbytes=49152, max_workgroup=1024, delta_chunks=True, nvrtc=True)
# each kernel is the first choice of one of these, or none
WAYS = OWN, replace(OWN, cooperative_matrix=()), Features(), replace(OWN, software=True)


def nodes() -> Iterator[Node]:
    """Of the op table's cases, as they are and as a plan of theirs has them."""
    for setting in map(bare, cases_for(False, None)):
        yield from (setting.node, *lean_plan(setting.graph, 3, lambda node: catalogue.refusal(node, OWN)).nodes)


@functools.cache
def used() -> dict[Variant, KernelKey]:
    """Of each variant that such a node takes, and of those of other types of weights, with the constants of one."""
    found: dict[Variant, KernelKey] = {}
    for node in nodes():
        for kernel, way in product(catalogue.KERNELS.get(node.op, ()), WAYS):
            if all(t.layout.n_elements for t in node.outputs) and not kernel.refuses(node, way):
                call = kernel.lower(node, way)
                key, variant = KernelKey(call.code, False), (call.stem, call.defines)
                for name in (variant, untyped(variant)):
                    found.setdefault(name, key)
    return found


def source(variant: Variant) -> str:
    """With constants that a dispatch has. A text's own say nothing: in a workgroup of one invocation a loop over what
    a workgroup shares is unrolled into thousands of steps, over which NVRTC takes minutes."""
    if not of_text(*variant).constants:
        return plain(*variant)
    key = used().get(variant) or used()[untyped(variant)]
    return replace(key, code=replace(key.code, defines=variant[1])).source()


def plain(stem: str, defines: Defines, before: str = "") -> str:
    return f'{before}#include "cuda.h"\n{text(stem, defines)}'


def test_every_variant_that_has_constants_has_a_case_that_sets_them() -> None:
    asked = [v for v in dict.fromkeys(catalogue.variants()) if of_text(*v).constants]
    assert [v for v in asked if not used().keys() & {v, untyped(v)}] == []


@pytest.mark.full(*range(1, SHARES))
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_text_becomes_machine_code(arch: str, share: int, full: bool, exhaustive: bool) -> None:
    """Of a share a spread for each architecture. With --full one of each shader for each, and of those of matrices,
    whose instructions differ, one of all flags; else one of all flags and of each type of weights, which differ in how
    those are read, for one of them in turn. With --exhaustive all for all."""
    turn, every = ARCHITECTURES.index(arch), list(dict.fromkeys(catalogue.variants()))
    firsts = flagged(every)
    mine = every[share::SHARES]
    others = {v for i, v in enumerate(mine) if i % len(ARCHITECTURES) == turn} & (firsts | typed(every))
    shaders = {v[0]: v for v in sorted(firsts)}.values()
    wanted = mine if exhaustive else {*shaders, *(v for v in firsts if v[0].endswith("_matrix"))} | others
    mine = [v for v in mine if v in wanted] if full else mine[turn :: len(mine) // 6]
    assert len(mine) > 5
    for variant in mine:
        written, begun = source(variant), thread_time()
        code = nvrtc._compile(str(variant), written, arch)
        assert code.startswith(nvrtc.ELF_MAGIC) and ENTRY in code, variant
        assert thread_time() - begun < MOST_SECONDS, variant


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
    assert nvrtc.architecture((9, 0)) == "sm_90a" and nvrtc.architecture((8, 7)) in ("sm_86", "sm_87")
    with pytest.raises(BackendError, match=r"^NVRTC \d+\.\d+ knows nothing of compute capability 3\.5; another"):
        nvrtc.architecture((3, 5))


PRODUCTS = (
    *(("mul_mat", tile) for tile in WARPGROUP_TILES),
    *((op, tile) for op in ("mul_mat_id", "mul_mat_id_swiglu") for tile in WARPGROUP_EXPERT_TILES),
)


@pytest.mark.parametrize(("op", "tile"), PRODUCTS)
def test_products_of_warpgroups_become_machine_code(op: str, tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where wgmma is."""
    monkeypatch.setattr(matrix_tiles, "forced", (tile, 4))
    case = next(case for case in cases_for(False, None) if case.op == op and "halves of" in case.what)
    call = catalogue.lower(bare(case).node, replace(OWN, warpgroup_nbytes=232448))
    assert call is not None and call.granted_nbytes
    key = KernelKey(call.code, False)
    check = "#ifndef __CUDA_ARCH_FEAT_SM90_ALL\n#error no wgmma\n#endif\n"
    assert nvrtc._compile(key.title, check + key.source(), nvrtc.architecture((9, 0))).startswith(nvrtc.ELF_MAGIC)


def test_an_array_of_another_size_than_is_granted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_tiles, "forced", (WARPGROUP_EXPERT_TILES[0], 4))
    case = next(case for case in cases_for(False, None) if case.op == "mul_mat_id" and "halves of" in case.what)
    call = catalogue.lower(bare(case).node, replace(OWN, warpgroup_nbytes=232448))
    assert call is not None
    key = KernelKey(replace(call.code, granted_nbytes=call.granted_nbytes - 128), False)
    with pytest.raises(BackendError, match="not what is granted"):
        nvrtc._compile(key.title, key.source(), nvrtc.architecture((9, 0)))
