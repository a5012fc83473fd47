"""Kernel calls name what their shaders declare: buffers, arguments and constants."""

import json
import lzma
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders import compile
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.compile import spirv
from vkrun.shaders.interface import KernelCallError, of_spirv, of_text, read_spirv, read_text
from vkrun.shaders.kernel import Features, KernelCall
from vkrun.shaders.texts import write_packed
from vkrun.tests.nodes import bare

CPU = Features(subgroup_size=8, software=True, shared_nbytes=32768, max_workgroup=1024)
GPU = Features(subgroup_size=32, shared_nbytes=49152, max_workgroup=1024, delta_chunks=True, float16=True, int_dot=True)
POOREST = Features()


def calls(op: str, features: Features) -> dict[tuple, KernelCall]:
    """One for each variant that the cases of an op use."""
    nodes = (bare(case).node for case in cases_for(features.software) if case.op == op)
    made = (lower(node, features) for node in nodes if not refusal(node, features))
    return {(call.stem, call.defines): call for call in made if call}


@pytest.mark.parametrize("op", list(dict.fromkeys(c.op for c in cases_for(True))))
def test_calls_fit_their_shaders(op: str, full: bool) -> None:
    """Whether a host goes by SPIR-V or by the text makes no difference. Plainly some of one device's."""
    for features in (CPU, GPU, POOREST) if full else (CPU,):
        for variant, call in list(calls(op, features).items())[:: 1 if full else 3]:
            by_spirv, by_text = of_spirv(*variant).order(call), of_text(*variant).order(call)
            assert (by_spirv.buffers, by_spirv.arguments) == (by_text.buffers, by_text.arguments)
            assert by_spirv.words.format == by_text.words.format and by_spirv.constants == by_text.constants
            assert len(by_spirv.buffers) == len(call.buffers) and len(by_spirv.constants) == len(call.constants)


@pytest.mark.parametrize("features", [CPU, GPU, POOREST])
def test_what_is_written_out_is_enough(features: Features) -> None:
    """shaders/common/each.glsl goes up to 8, and to 32 for sums of matrices."""
    products = ("mul_mat", "mul_mats", "norm_mul_mats", "norm_mul_mats_conv", "mul_mat_conv", "mul_mat_add")
    of_all = [calls(op, features).values() for op in (*products, "experts_gate_up", "experts_down")]
    tiles = [c.constants for found in of_all for c in found if {"ROWS", "COLS"} <= c.constants.keys()]
    assert tiles and max(max(tile["ROWS"], tile["COLS"]) for tile in tiles) <= 8
    by_matrices = [c.constants for found in of_all for c in found if "matrix" in c.stem and "PART_ROWS" in c.constants]
    assert all(c["PART_ROWS"] // c["M"] * (c["PART_COLS"] // c["N"]) <= 32 for c in by_matrices)
    assert by_matrices or not features.cooperative_matrix


BUFFERS = {name: Storage(name, Kind.STATE, DType.F32, (8,)).tensor() for name in ("a", "b", "y")}
NUMBERS = ("count", "size1", "size2", "size3", "magic1", "magic2", "magic3", "shifts")
PLACES = tuple(f"{name}_{axis}" for name in BUFFERS for axis in "0123")
CALL = KernelCall(
    "binary",
    (("OP", "op_add"),),
    BUFFERS,
    dict.fromkeys((*NUMBERS, *PLACES), 1) | {f"{name}_at": t for name, t in BUFFERS.items()},
    (1, 1, 1),
    {"local_size_x": 8, "AXES": 1, "PER": 2},
)


@pytest.mark.parametrize("interface_of", [of_spirv, of_text])
def test_the_order_is_the_shaders(interface_of: Callable) -> None:
    turned = replace(
        CALL,
        buffers=dict(reversed(CALL.buffers.items())),
        arguments=dict(reversed(CALL.arguments.items())),
        constants=dict(reversed(CALL.constants.items())),
    )
    interface = interface_of(CALL.stem, CALL.defines)
    assert interface.order(turned) == interface.order(CALL)
    ordered = interface.order(turned)
    assert ordered.buffers == tuple(BUFFERS.values()) and ordered.constants == {0: 8, 1: 1, 2: 2}
    assert ordered.arguments[8:13] == (1, 1, 1, 1, BUFFERS["a"])


@pytest.mark.parametrize(
    ("part", "gone", "more", "wanted"),
    [
        ("arguments", "count", "", "called with no argument count"),
        ("arguments", "", "n", "called with unknown argument n"),
        ("arguments", "a_0", "a_zero", "called with unknown argument a_zero, no argument a_0"),
        ("constants", "PER", "", "called with no constant PER"),
        ("constants", "", "LANES", "called with unknown constant LANES"),
        ("constants", "local_size_x", "", "called with no constant local_size_x"),
        ("buffers", "a", "", "buffers b, y, it declares a, b, y"),
        ("buffers", "a", "x", "buffers b, y, x, it declares a, b, y"),
        ("buffers", "", "x", "buffers a, b, y, x, it declares a, b, y"),
    ],
)
def test_a_name_missing_or_unknown_is_an_error(part: str, gone: str, more: str, wanted: str) -> None:
    given = dict(getattr(CALL, part))
    if more:
        given[more] = next(iter(given.values()))
    given.pop(gone, None)
    with pytest.raises(KernelCallError) as caught:
        of_spirv(CALL.stem, CALL.defines).order(replace(CALL, **{part: given}))
    assert str(caught.value) == f"shader binary (OP=op_add): {wanted}"


def test_spirv_without_names_is_refused() -> None:
    module = spirv(CALL.stem, CALL.defines)
    words = struct.unpack(f"<{len(module) // 4}I", module)
    kept, at = list(words[:5]), 5
    while at < len(words):
        n, op = words[at] >> 16, words[at] & 0xFFFF
        kept += words[at : at + n] if op not in (5, 6) else ()  # OpName, OpMemberName
        at += n
    with pytest.raises(BackendError, match=r"^shader binary: its SPIR-V has no names"):
        read_spirv("binary", struct.pack(f"<{len(kept)}I", *kept))


def test_names_come_along_where_there_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a wheel, which has SPIR-V and packed texts: see test_packaging.py for all of them."""
    variant = CALL.stem, CALL.defines
    known = of_spirv(*variant)
    write_packed(tmp_path / "texts.json.xz", [variant])
    monkeypatch.setattr(compile, "_tool", lambda _name: None)
    assert of_spirv.__wrapped__(*variant) == known
    (packed,) = json.loads(lzma.decompress((tmp_path / "texts.json.xz").read_bytes())).values()
    assert read_text(known.shader, packed) == known
