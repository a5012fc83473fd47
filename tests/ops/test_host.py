"""The host backend: what it checks is caught, what it computes is right on both orders of lanes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.backends.host import BACKEND, kernels
from vkrun.backends.host.dispatch import Bound, Dispatch, Lanes, cells_of
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import Plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.shaders.translate import translated
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

HEAD = """#version 450
layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Args { uint n; };
shared uint held[64];
shared vec4 quads[8];
uint few[3];
void main() {
uint i = gl_LocalInvocationID.x, group = gl_WorkGroupID.x;
"""
ORDERS = pytest.mark.parametrize("backwards", [False, True])
LANES = pytest.mark.parametrize("subgroup", [8, 32])


def run(statements: str, *, n_lanes: int = 64, n_groups: int = 1, lanes: Lanes) -> tuple[str, np.ndarray]:
    """What went wrong, if anything, and y [64 * n_groups], which starts as ones; x counts from 0, n is 64."""
    text = translated(f"{HEAD}{statements}\n}}\n", "some.comp")
    x, y = np.arange(64 * n_groups, dtype=np.uint32), np.ones(64 * n_groups, np.uint32)
    kernel = kernels.compiled("some", text, {"local_size_x": n_lanes})
    dispatch = Dispatch(kernel, (Bound(x), Bound(y, cells_of(y))), np.uint32(64).tobytes(), (n_groups, 1, 1), lanes)
    return dispatch.run(), y


@ORDERS
@LANES
def test_barriers_and_subgroups(subgroup: int, backwards: bool) -> None:
    """Turned round in shared memory, then what each operation gives, told apart by decimal places."""
    why, y = run(
        """held[i] = x[group * n + i];
        barrier();
        uint other = held[n - 1u - i], lane = gl_SubgroupInvocationID, size = gl_SubgroupSize;
        uint sum = subgroupAdd(lane), most = subgroupMax(lane), least = subgroupMin(lane + 3u);
        uvec4 odd = subgroupBallot((lane & 1u) != 0u);
        bool right = sum == size * (size - 1u) / 2u && most == size - 1u && least == 3u;
        right = right && odd.x == (size == 8u ? 0xaau : 0xaaaaaaaau);
        right = right && subgroupShuffle(lane, 5u) == 5u && subgroupShuffleXor(lane, 3u) == (lane ^ 3u);
        right = right && subgroupElect() == (lane == 0u) && gl_SubgroupID == i / size && gl_NumSubgroups == n / size;
        y[group * n + i] = right ? other : 12345u;""",
        n_groups=3,
        lanes=Lanes(subgroup, backwards),
    )
    assert why == ""
    assert y.tolist() == np.arange(192).reshape(3, 64)[:, ::-1].reshape(-1).tolist()


MATRICES = """shared uvec4 wide[64];
shared float sums[512];
layout(std430, binding = 0) readonly buffer X4 { uvec4 x4[]; };
layout(std430, binding = 1) buffer Y1 { float y1[]; };
layout(std430, binding = 1) buffer Y4 { uvec4 y4[]; };
coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> a;
coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> b;
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> c;
uint few[3];"""
ROWS, COLUMNS = "gl_CooperativeMatrixLayoutRowMajor", "gl_CooperativeMatrixLayoutColumnMajor"


def with_matrices(statements: str) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """What went wrong; two matrices of halves [16, 16], which x holds; y [3, 16, 16] of 32 bits. Two subgroups."""
    made = translated(HEAD.replace("uint few[3];", MATRICES) + statements + "\n}\n", "some.comp")
    x, y = (np.arange(512) % 23).astype(np.float16), np.ones(768, np.uint32)
    bound, n = (Bound(x), Bound(y, cells_of(y))), np.uint32(64).tobytes()
    kernel = kernels.compiled("matrices", made, {"local_size_x": 64})
    why = Dispatch(kernel, bound, n, (1, 1, 1), Lanes(32, False)).run()
    return why, *x.astype(np.float32).reshape(2, 16, 16), y.reshape(3, 16, 16)


def product(orders: str) -> str:
    """In shared memory; orders "rrr": those of both matrices and of the result, r for rows and c for columns."""
    a, b, c = ({"r": ROWS, "c": COLUMNS}[order] for order in orders)
    return f"""wide[i] = uvec4(x[4u * i], x[4u * i + 1u], x[4u * i + 2u], x[4u * i + 3u]); barrier();
        coopMatLoad(a, wide, 0u, 2u, {a});
        coopMatLoad(b, wide, 32u, 2u, {b});
        c = coopMatMulAdd(a, b, coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.5));
        coopMatStore(c, sums, 256u * gl_SubgroupID, 16u, {c});
        subgroupBarrier();
        for (uint e = gl_SubgroupInvocationID; e < 256u; e += 32u) {{
            y[256u * gl_SubgroupID + e] = floatBitsToUint(sums[256u * gl_SubgroupID + e]);
        }}"""


@pytest.mark.parametrize("orders", ["rrr", "rcr", "crc", "ccr"])
def test_cooperative_matrices(orders: str) -> None:
    why, a, b, y = with_matrices(product(orders))
    made = y.view(np.float32)
    a, b, c = (m if order == "r" else m.T for m, order in zip((a, b, made[0]), orders, strict=True))
    assert why == "" and (made[0] == made[1]).all() and (c == a @ b + 0.5).all()


def test_cooperative_matrices_of_buffers_and_their_elements() -> None:
    """Twice the product less what columns of it are as rows; as halves too."""
    why, a, b, y = with_matrices(f"""coopMatLoad(a, x4, 0u, 2u, {ROWS});
        coopMatLoad(b, x4, 32u, 2u, {ROWS});
        c = coopMatMulAdd(a, b, coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0));
        coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> turned;
        coopMatStore(c, sums, 256u * gl_SubgroupID, 16u, {ROWS});
        subgroupBarrier();
        coopMatLoad(turned, sums, 256u * gl_SubgroupID, 16u, {COLUMNS});
        for (uint e = 0u; e < c.length(); e++) {{ c[e] = 2.0 * c[e] - turned[e]; }}
        coopMatStore(c, y1, 256u * gl_SubgroupID, 16u, {ROWS});
        coopMatStore(coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(c), y4,
                     128u + 32u * gl_SubgroupID, 2u, {ROWS});""")
    wanted = 2 * (a @ b) - (a @ b).T
    assert why == "" and (y[:2].view(np.float32) == wanted).all()
    assert (y[2].view(np.float16).reshape(2, 16, 16) == wanted.astype(np.float16)).all()


@pytest.mark.parametrize(("fault", "why"), [(" barrier();", "wide["), ("subgroupBarrier();", "sums[")])
def test_barriers_around_cooperative_matrices_are_missed(fault: str, why: str) -> None:
    assert fault in product("rcr") and why in with_matrices(product("rcr").replace(fault, ""))[0]


def test_halves_are_rounded_to_the_nearest() -> None:
    """All that halves can be, what lies between them, and their products."""
    why, y = run(
        """float a = float(i) * 0.37 - 9.0, b = float(i * i) * 1e-7;
        f16vec2 d = unpackFloat2x16(packHalf2x16(vec2(a, b * 100.0)));
        uint sum = packFloat2x16(fma(d, d, f16vec2(0.1)) - float16_t(3.0)), tiny = packHalf2x16(vec2(b, a * 9000.0));
        y[group * n + i] = group == 0u ? sum : tiny;""",
        n_groups=2,
        lanes=Lanes(32, False),
    )
    i = np.arange(64, dtype=np.float32)
    a, b = i * np.float32(0.37) - 9, i * i * np.float32(1e-7)
    d = np.stack((a, b * 100), 1).astype(np.float16).astype(np.float64)
    sums = (d * d + np.float64(np.float16(0.1))).astype(np.float16) - np.float16(3)
    with np.errstate(over="ignore"):
        tiny = np.stack((b, a * 9000), 1).astype(np.float16)
    assert why == "" and (y.view(np.float16).reshape(2, 64, 2) == (sums, tiny)).all()


@ORDERS
def test_atomics_and_components(backwards: bool) -> None:
    """Two invocations may write two components of one vector."""
    why, y = run(
        """if (i == 0u) { held[0] = 0u; }
        if (i < 32u) { quads[i / 4u][i % 4u] = float(i); }
        barrier();
        uint before = atomicAdd(held[0], 2u);
        barrier();
        y[i] = held[0] + uint(quads[i / 8u].y) + (before < 128u ? 0u : 1000u);""",
        lanes=Lanes(8, backwards),
    )
    assert why == "" and y.tolist() == [128 + i // 8 * 4 + 1 for i in range(64)]


@ORDERS
@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        ("y[i] = x[i + 1u];", "some.comp:11: x[64], it has 64"),
        ("if (i > 9u) { y[i * 7u] = 1u; }", ", it has 64"),
        ("y[i / 2u] = 0u;", "touched by two invocations of one dispatch"),
        ("y[i] += y[i ^ 1u];", "touched by two invocations of one dispatch"),
        ("held[i + 1u] = 0u;", "held[64], it has 64"),
        ("quads[i / 8u][i % 5u] = 0.0;", "a vector[4], it has 4"),
        ("few[i % 4u] = i; y[i] = few[0];", "some.comp:11: an array's index is out of bounds"),
        ("y[i] = held[i];", "read before anyone wrote it"),
        ("held[i] = i; y[i] = held[i ^ 1u];", "held["),
        ("held[0] = i;", "held[0] touched by two invocations without a barrier between"),
        ("held[i] = i; barrier(); held[i / 2u] += held[i];", "without a barrier between"),
        ("held[i] = i; barrier(); y[i] = held[i ^ 1u]; held[i] = 1u;", "without a barrier between"),
        ("held[i] = i; barrier(); y[i] = held[5]; if (i == 63u) { held[5] = 1u; }", "without a barrier between"),
        ("held[i] = i; barrier(); y[i] = held[5]; subgroupBarrier(); if (i == 5u) { held[5] = 1u; }", "held[5] "),
        ("held[i] = i; subgroupBarrier(); y[i] = held[i ^ 8u];", "held["),
        ("held[i] = i; uint sum = subgroupAdd(i); y[i] = held[i ^ 1u];", "without a barrier between"),
        ("if (i == 0u) { held[0] = 1u; } atomicAdd(held[0], 1u);", "held[0] "),
        ("if (i < 9u) { barrier(); }", "a barrier that some invocations do not reach"),
        ("if (i < 9u) { barrier(); } else { barrier(); }", "invocations at different barriers"),
        ("if (i < 9u) { return; } barrier();", "a barrier that some invocations do not reach"),
        ("if (i < 3u) { y[i] = subgroupAdd(i); } else { barrier(); }", "while other lanes are at a barrier"),
        ("y[i] = i < 3u ? subgroupAdd(i) : subgroupMax(i);", "lanes at different subgroup operations"),
        ("if (i < 3u) { y[i] = subgroupShuffle(i, 5u); }", "a shuffle from a lane that takes no part"),
        ("y[i] = i << (i + 1u);", "some.comp:11: a shift by too much"),
        ("y[i] = i / (i & 1u);", "some.comp:11: a division by zero"),
    ],
)
def test_what_gpus_leave_undefined_is_an_error(statements: str, wanted: str, backwards: bool) -> None:
    why, _ = run(statements, lanes=Lanes(8, backwards))
    assert wanted in why and "workgroup 0 0 0, invocation" in why


def test_variables_without_a_value_are_strange() -> None:
    assert run("uint a; y[i] = a;", lanes=Lanes(8, False))[1].min() > 1 << 24


def test_what_does_not_fit_the_kernel_is_refused() -> None:
    kernel = kernels.compiled("some", translated(HEAD + "}", "some.comp"), {"local_size_x": 8})
    one = Bound(np.zeros(8, np.uint32))
    assert "another number of buffers" in Dispatch(kernel, (one,), bytes(4), (1, 1, 1), Lanes(8, False)).run()
    assert "other arguments" in Dispatch(kernel, (one, one), bytes(8), (1, 1, 1), Lanes(8, False)).run()
    large = kernels.compiled("some", translated(HEAD + "}", "some.comp"), {"local_size_x": 2048})
    assert "too many lanes" in Dispatch(large, (one, one), bytes(4), (1, 1, 1), Lanes(8, False)).run()


def sum_of_sums() -> tuple[Plan, Graph, Storage]:
    storage = Storage("x", Kind.STATE, DType.F32, (4, 8))
    graph = Graph()
    x = storage.tensor()
    graph.output("y", graph.add(graph.add(x, x), x))
    return make_plan(graph), graph, storage


@pytest.mark.parametrize("index", range(6))
def test_what_has_no_order_runs_backwards_too(index: int) -> None:
    """A plan with a barrier too few is right forwards by chance, and wrong backwards."""
    plan, graph, storage = sum_of_sums()
    device = BACKEND.open(BACKEND.devices()[index])
    device.alloc([storage])
    device.write(storage, np.ones(storage.shape, np.float32))
    for barriers, right in ((plan.barriers, True), ((False,) * len(plan.nodes), index % 2 == 0)):
        program = device.compile(Plan(graph, plan.arena, barriers))
        program.run()
        assert (program.read(graph.outputs["y"]) == 3).all() == right
        assert len(program.profile()) == len(plan.nodes)
    device.free([storage])
    with pytest.raises(BackendError, match="memory that it uses was freed"):
        program.run()
    with pytest.raises(BackendError, match="x: state without memory on this device"):
        device.read(storage)


def test_a_model_runs(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    ids = [5, 11, 11, 60, 0, 7, 23]
    with load_exact(path, backend="cpu", n_ctx=64, opt=0) as oracle:
        wanted = oracle.logits(ids)
    for index in (0, 3):
        with load_exact(path, backend="host", device=index, n_ctx=64) as model:
            assert nmse(model.logits(ids), wanted) < 1e-10


def test_it_is_never_chosen_unless_named() -> None:
    assert "host" not in registry.names()
    assert all(info.backend != "host" for info in registry.devices())
    assert registry.choose("host", None)[1].index == 0
    assert registry.choose("host", "8, backwards")[1].index == 3


def test_compiled_once_by_text_options_and_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = translated(HEAD + "y[i] = 1u; }", "some.comp")
    monkeypatch.setattr(kernels, "_folder", lambda: tmp_path)
    for _ in range(2):
        kernels.compiled("some", text, {"local_size_x": 8})
    assert len(list(tmp_path.glob("some-*.so"))) == 1
    kernels.compiled("some", text, {"local_size_x": 16})
    kernels.compiled("some", text + "\n", {"local_size_x": 8})
    monkeypatch.setattr(kernels, "OPTIONS", (*kernels.OPTIONS, "-O0"))
    kernels.compiled("some", text, {"local_size_x": 8})
    assert len(list(tmp_path.glob("some-*.so"))) == 4 and not list(tmp_path.glob(".compiling*"))


def test_a_text_that_does_not_compile_says_where(tmp_path: Path) -> None:
    text = translated(HEAD + "\nvec2 a = uvec3(1u); }", "some.comp")
    with pytest.raises(BackendError, match=r"some\.comp:12:.* error: "):
        kernels.compiled("some", text, {"local_size_x": 8})


@pytest.mark.parametrize("path", ["", "/usr/share"])
def test_without_a_compiler_it_says_so(path: str, tmp_path: Path) -> None:
    code = "from vkrun.backends.host import BACKEND; print(BACKEND.devices(), BACKEND.why_missing())"
    env = {"PATH": path, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "[] host: no C++ compiler on PATH; install one (Debian, Ubuntu: g++)", done.stderr
