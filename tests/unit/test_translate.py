"""shaders/translate: what becomes of GLSL, and that nothing outside of the known subset gets through."""

import re
import shutil

import pytest
from vkrun.shaders import catalogue
from vkrun.shaders.compile import title
from vkrun.shaders.kernel import Variant
from vkrun.shaders.texts import text
from vkrun.shaders.translate import OutsideSubsetError, translated

HEAD = """#version 450
layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Args { uint n; };
shared vec2 pairs[64];
shared uvec4 quads[64];
shared uint total;
"""
SUMS = "coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>"
HALVES = "coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>"

pytestmark = pytest.mark.skipif(not shutil.which("glslangValidator"), reason="glslangValidator is not installed")


def body(statements: str, declared: str = "") -> str:
    """What becomes of statements, without what tells where they stand."""
    text = translated(f"{HEAD}{declared}void main() {{ {statements} }}\n", "some.comp")
    method = text[text.index("main_()") : text.index("VK_ENTRY_BEGIN")]
    return re.sub(r"\n?#line.*\n", "", method)


def sample(full: bool) -> list[Variant]:
    """Every variant, or the first and the last of each source."""
    found = list(catalogue.variants())
    last, first = ({v[0]: v for v in order} for order in (found, found[::-1]))
    return found if full else list(dict.fromkeys((*first.values(), *last.values())))


def test_every_variant_is_within_the_subset(full: bool) -> None:
    variants = sample(full)
    assert len(variants) > 60
    for variant in variants:
        assert "vk_kernel.main_();" in text(*variant), title(*variant)


@pytest.mark.parametrize(("statements", "entry"), [("", "VK_ENTRY_BODY"), ("await_inputs();", "VK_ENTRY_BODY_LATE")])
def test_a_kernel_waits_for_others_at_its_entry_unless_it_says_where(statements: str, entry: str) -> None:
    text = translated(f"{HEAD}void main() {{ {statements} y[n] = x[n]; }}\n", "some.comp")
    assert entry in text.splitlines()


@pytest.mark.parametrize(("declared", "told"), [("", ""), ("const uint RESIDENT = 2u; ", " , RESIDENT")])
def test_a_kernel_may_say_how_many_workgroups_have_to_fit(declared: str, told: str) -> None:
    text = translated(f"{HEAD}{declared}void main() {{ y[0] = x[0]; }}\n", "some.comp")
    assert f"#define VK_RESIDENT{told}" in text.splitlines()


@pytest.mark.parametrize(
    ("glsl", "c"),
    [
        ("y[n] = x[n + 1u];", "VK_STORE(y, n)=VK_LOAD(x, n+1u);"),
        ("y[n] += 1.0;", "VK_CHANGE(y, n)+=1.0f;"),
        ("y[uint(x[0])] *= 2.;", "VK_CHANGE(y, uint(VK_LOAD(x, 0)))*=2.f;"),
        ("total = 3u; n + total;", "VK_STORE(total, 0u)=3u;n+VK_LOAD(total, 0u);"),
        ("atomicAdd(total, 1u);", "atomicAdd(VK_ATOMIC(total, 0u),1u);"),
        ("pairs[n].y = pairs[0][n];", "VK_STORE_PART(pairs, n, 1u)=VK_LOAD_PART(pairs, 0, n);"),
        ("vec2 a = pairs[1] * 0.5;", "vec2 a=VK_LOAD(pairs, 1)*0.5f;"),
        ("vec4 v; v.x = v.xy.y; v[1] = 1e3;", "vec4 v;v.x=v.VK_SWIZZLE(xy).y;v[1]=1e3f;"),
        (
            "vec2 v = mix(vec2(0), sign(pairs[0]), equal(pairs[0], vec2(1)));",
            "mix(vec2(0),sign(VK_LOAD(pairs, 0)),equal(",
        ),
        ("uvec4 a; uvec3 b = a.xzyw.yzw;", "uvec3 b=a.VK_SWIZZLE(xzyw).VK_SWIZZLE(yzw);"),
        (
            f"{HALVES} m[2]; coopMatLoad(m[1], quads, n + 1u, 2u, gl_CooperativeMatrixLayoutRowMajor);",
            "coopmat<float16_t, 16, 16, gl_MatrixUseA>m[2];"
            "VK_MATRIX_LOAD((m[1]), quads, n+1u, 2u, gl_CooperativeMatrixLayoutRowMajor);",
        ),
        (
            f"{SUMS} m; for (uint e = 0u; e < m.length(); e++) {{ m[e] *= 2.0; }}",
            "coopmat<float, 16, 16, gl_MatrixUseAccumulator>m;for(uint e=0u;e<m.length();e++){m[e]*=2.0f;}",
        ),
        (
            f"coopMatStore({SUMS}(0.5), y, n, 16u, gl_CooperativeMatrixLayoutColumnMajor);",
            "VK_MATRIX_STORE_BUFFER((coopmat<float, 16, 16, gl_MatrixUseAccumulator>(0.5f)), y, n, 16u, gl_",
        ),
        (
            f"{SUMS} m[8]; warpgroupMulAdd(m, 4u, 4u, quads, n, n + 8u, 1u);",
            "VK_WARPGROUP_MUL_ADD(m, 4u, 4u, quads, n, n+8u, 1u);",
        ),
        ("copyAsync(quads, n, x, n + 1u); copiesAwait(1u);", "VK_COPY_ASYNC(quads, n, x, n+1u);copiesAwait(1u);"),
        ("f16vec2 d = unpackFloat2x16(n) - float16_t(1.0);", "f16vec2 d=unpackFloat2x16(n)-float16_t(1.0f);"),
        ("uint this = 0u, b = this;", "uint this_=0u,b=this_;"),
        ("precise float a = 1.0;", "VK_PRECISE float a=1.0f;"),
        ("[[unroll]] for (uint i = 0u; i < 4u; i++) { }", "VK_UNROLL for(uint i=0u;i<4u;i++){}"),
        ("uint i = gl_WorkGroupSize.x * gl_WorkGroupID.y;", "uint i=VK_WORKGROUP*gl_WorkGroupID.y;"),
        ("float a = - -1.0;", "float a=- -1.0f;"),
    ],
)
def test_what_changes(glsl: str, c: str) -> None:
    assert c in body(glsl)


def test_a_local_variable_hides_a_buffer_until_its_braces_close() -> None:
    text = body("{ vec2 a = vec2(0), y = a; y[0] = 1.0; } y[0] = 2.0;")
    assert "y[0]=1.0f;}VK_STORE(y, 0)=2.0f;" in text


def test_parameters_hide_and_arrays_go_by_reference() -> None:
    text = translated(f"{HEAD}float f(vec2 x[2], inout uint y) {{ y++; return x[0].x; }}\nvoid main() {{}}\n", "a.comp")
    assert "VK_FN float f(const VK_PRIVATE vec2 VK_REFERENCE(x)[2], VK_PRIVATE uint &y)" in text
    assert "x[0].x" in text and "VK_LOAD(x" not in text


def test_constants_structs_and_private_arrays() -> None:
    declared = (
        "layout(constant_id = 1) const uint N = 4;\nstruct Two { vec4 a, b; };\nfloat sums[N][2];\nuint k = 1u;\n"
    )
    text = translated(f"{HEAD}{declared}void main() {{ Two t = Two(vec4(0), vec4(1)); }}\n", "some.comp")
    for wanted in (
        "#ifndef VK_SPEC_1\n#define VK_SPEC_1 uint(4)\n#endif\nVK_CONSTANT uint N = VK_SPEC_1;",
        "Two(vec4 a_, vec4 b_) : a(a_), b(b_) {}",
        "VK_PRIVATE float VK_REFERENCE(sums)[N][2];",
        "vk_Kernel vk_kernel(sums);",
        "uint k = 1u;",
        "vk_kernel.n = vk_arguments.n;",
    ):
        assert wanted in text, wanted


def test_lines_of_the_source_stay_known() -> None:
    text = translated(f'{HEAD}#line 7 "rows.glsl"\nvoid main() {{\n    y[0] = 1.0;\n}}\n', "some.comp")
    assert '#line 7 "rows.glsl"' in text and "#line 8\nVK_STORE" in text


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("float a = texture(x, 1.0);", "texture()"),
        ("float a = tan(1.0);", "tan()"),
        ("uint a = gl_VertexIndex;", "gl_VertexIndex"),
        ("mat4 m;", "mat4 before m"),
        ("double d = 1.0;", "double before d"),
        ("vec4 v; v.xz = vec2(0);", ".xz"),
        ("vec4 v; v.xy = vec2(0);", ".xy that is written"),
        ("vec4 v; float f = v.r;", ".r"),
        ("float a[2] = float[2](0.0, 1.0);", "float[], an array as a value"),
        ("uint a = uint(x.length());", "x without an index"),
        ("++y[0];", "++ before an element"),
        ("int a = 3000000000;", "3000000000"),
        ("switch (n) { case 1: break; }", "switch()"),
        ("uint a = gl_WorkGroupSize.y;", "gl_WorkGroupSize without .x"),
        ("[[flatten]] if (n > 0u) { }", "[[flatten]]"),
        ("uint VK_LOAD = 1u;", "VK_LOAD"),
        ("float a = 1.0lf;", "1.0 before lf"),
        ("memoryBarrierShared();", "memoryBarrierShared()"),
        ("uint a = subgroupInclusiveAdd(1u);", "subgroupInclusiveAdd()"),
        (
            "coopmat<float, gl_ScopeWorkgroup, 16, 16, gl_MatrixUseA> m;",
            "coopmat<float,gl_ScopeWorkgroup,16",
        ),
        ("coopmat<float, gl_ScopeSubgroup, 4 * 4, 16, gl_MatrixUseA> m;", "coopmat<float,gl_ScopeSubgroup,4*4,16"),
        ("coopmat<int, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> m;", "coopmat of int as gl_MatrixUseA"),
        ("coopMatLoad(m, total, 0u, 2u, gl_CooperativeMatrixLayoutRowMajor);", "coopMatLoad of another than an array"),
        ("coopMatStore(m, quads, 0u);", "coopMatStore of another than an array"),
        ("copyAsync(quads, 0u, total, 0u);", "copyAsync of another than an array"),
        ("warpgroupMulAdd(m, 0u, 4u, n, 0u, 8u, 1u);", "warpgroupMulAdd of another than an array"),
        ("warpgroupMulAdd(m, quads);", "warpgroupMulAdd of another than an array"),
        ("@", "'@'"),
    ],
)
def test_what_is_unknown_is_refused_by_file_and_line(statement: str, named: str) -> None:
    with pytest.raises(OutsideSubsetError, match=rf"^some\.comp:10: {re.escape(named)}"):
        translated(f"{HEAD}void main() {{\n{statement}\n}}\n", "some.comp")


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("layout(binding = 2) uniform sampler2D image;", "uniform before a variable"),
        ("layout(std430, binding = 2) buffer Z { uint n_z; uint z[]; };", "a buffer that is no plain array"),
        ("layout(std430, binding = 2) buffer Z { uint z[]; } named;", "a buffer that is no plain array"),
        ("layout(std430, binding = 4) buffer Z { uint z[]; };", "bindings [0, 1, 4]"),
        ("layout(std430, set = 1, binding = 2) buffer Z { uint z[]; };", "layout(set)"),
        ("layout(std430, binding = 2) coherent buffer Z { uint z[]; };", "coherent buffer Z"),
        ("layout(local_size_x = 8, local_size_y = 8) in;", "layout(local_size_y)"),
        ("layout(constant_id = 1) const float F = 1.0;", "specialisation constant of type float"),
        ("const float TABLE[2] = float[](1.0, 2.0);", "constant TABLE"),
        ("shared float tile[8][8];", "shared tile of several axes"),
        ("struct A { float a[2]; };", "an array in struct A"),
        ("highp float f;", "highp before a variable"),
        ("#extension GL_EXT_shader_explicit_arithmetic_types : require", "#extension GL_EXT_shader_explicit"),
        ("layout(local_size_x = 8", "( that never closes"),
    ],
)
def test_declarations_that_are_unknown_are_refused(declared: str, named: str) -> None:
    with pytest.raises(OutsideSubsetError, match=rf"^some\.comp:9: {re.escape(named)}"):
        translated(f"{HEAD}{declared}\nvoid main() {{}}\n", "some.comp")
