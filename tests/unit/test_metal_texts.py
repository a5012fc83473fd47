"""Every shader as Metal has it: within Apple's limits, and C++ for clang with Metal's address spaces and attributes."""

from collections.abc import Callable
from functools import cache

import pytest
from vkrun.backends.host import msl
from vkrun.runtime.errors import BackendError
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders import catalogue, metal
from vkrun.shaders.compile import title
from vkrun.shaders.interface import n_threads, of_text
from vkrun.shaders.kernel import KernelCode, Variant
from vkrun.tests.nodes import bare
from vkrun.tests.untyped import flagged, typed, untyped

PARTS = 8

pytestmark = pytest.mark.skipif(bool(msl.why_missing()), reason=msl.why_missing())


@cache
def used() -> dict[Variant, KernelCode]:
    """Of each variant that a case of the op table takes, with the constants of one."""
    nodes = (bare(case).node for case in cases_for(False))
    calls = [catalogue.lower(n, metal.FEATURES) for n in nodes if not catalogue.refusal(n, metal.FEATURES)]
    return {(call.stem, call.defines): call.code for call in calls if call}


@cache
def constants() -> dict[Variant, tuple[tuple[str, int], ...]]:
    return {untyped(v): code.constants for v, code in used().items()}


def text(variant: Variant) -> str:
    """With constants of the op table, be it for other weights; or the text's own."""
    if found := constants().get(untyped(variant)):
        return metal.text_of(KernelCode(*variant, found))
    return metal.plain_text(*variant)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_variant_is_metal(part: int, full: bool, exhaustive: bool) -> None:
    """One of each shader, with --full one of all its flags and of each type of weights, with --exhaustive all."""
    found = list(dict.fromkeys(catalogue.variants()))
    some = flagged(found) | typed(found) if full else {*{v[0]: v for v in found}.values()}
    chosen = found if exhaustive else [v for v in found if v in some]
    for variant in chosen[part::PARTS]:
        try:
            msl.check(text(variant))
        except BackendError as error:
            pytest.fail(f"{title(*variant)}: {error}")


def test_what_the_op_table_takes_is_within_apples_limits(full: bool) -> None:
    """With --full all of it."""
    codes = list(used().values())
    assert len(codes) > 500
    for code in codes if full else codes[::50]:
        made = metal.metal_code(code)
        assert made.n_threads == n_threads(code) <= metal.LIMITS.threads
        assert made.n_buffers + 1 <= metal.LIMITS.buffers
        assert made.arguments_nbytes <= metal.LIMITS.set_bytes_nbytes


SMALL = metal.plain_text("copy", (("SRC", "F32"), ("DST", "F16")))
POINTER = "device T *x [[buffer(i)]]"


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("#define VK_BUFFER(T, x) device T *x;", "#define VK_BUFFER(T, x) threadgroup T *x;", "address space"),
        (
            "#define VK_BUFFER(T, x) device T *x;",
            "#define VK_BUFFER(T, x) T *x;",
            "no matching function",
        ),
        ("constant vk_Arguments &", "thread vk_Arguments &", "expected a pointer or reference to device or constant"),
        (POINTER, "T *x [[buffer(i)]]", "expected a pointer or reference to device or constant"),
        (POINTER, "device T *x [[buffer(i + 1)]]", "without an attribute"),
        (POINTER, "device T *x [[buffer(0)]]", "has buffers"),
        (POINTER, "device T *x [[texture(i)]]", "has buffers"),
        ("uint vk_lane [[", "float vk_lane [[", "which is no input"),
        ("[[thread_index_in_simdgroup]]", "[[thread_in_simdgroup]]", "which is no input"),
        ("[[max_total_threads_per_threadgroup(VK_WORKGROUP)]] ", "", "no kernel function"),
        ("vk_kernel.main_();", "vk_kernel.main_(); float4 v = float3(1.0f);", "error"),
    ],
)
def test_what_metal_refuses_is_refused(was: str, becomes: str, why: str) -> None:
    assert was in SMALL
    with pytest.raises(BackendError, match=why):
        msl.check(SMALL.replace(was, becomes))


def test_buffers_stand_in_the_order_of_their_bindings() -> None:
    for code in list(used().values())[::97]:
        entry, _ = msl.read(metal.text_of(code), msl.CHECKED)
        names = of_text(code.stem, code.defines).buffers
        first = {binding: name for name, binding in reversed(list(names.items()))}
        devices = [p for p in entry.buffers if p.type.startswith("device")]
        assert [p.number for p in entry.buffers] == list(range(len(entry.buffers)))
        assert [p.name.rstrip("_") for p in devices] == [first[i].rstrip("_") for i in range(len(first))]


def test_without_clang_it_says_so(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    forget: Callable[[], None] = msl.compiler.cache_clear
    request.addfinalizer(forget)
    forget()
    monkeypatch.setattr(msl, "COMPILERS", ("no-such-clang",))
    assert msl.why_missing() == (
        "host: no clang++ on PATH, which runs Metal's texts; install it (Debian, Ubuntu: clang)"
    )
