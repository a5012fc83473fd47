"""Operands as kernels declare them: what is refused, and in which words."""

import pytest
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.layout import Layout
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.operands import FLOATS, INTS, NUMBERS, WEIGHTS, Operand, refusal

HUGE = Layout((2**16, 2**15), (2**15, 1))


def tensor(*shape: int, dtype: DType = DType.F32, layout: Layout | None = None) -> Tensor:
    storage = Storage("s", Kind.STATE, dtype, shape)
    return Tensor(dtype, layout or Layout.contiguous(shape), storage)


def why(operand: Operand, t: Tensor) -> str:
    return refusal({"x": operand}, {}, Node("neg", (t,), ()))


@pytest.mark.parametrize(
    ("operand", "t", "wanted"),
    [
        (FLOATS, tensor(2, 3, dtype=DType.F16), "x s:F16(2, 3) is F16, expected F32"),
        (NUMBERS, tensor(2, 32, dtype=DType.Q8_0), "x s:Q8_0(2, 32) is Q8_0, expected F32 or F16 or BF16 or I32"),
        (WEIGHTS, tensor(2, 32, dtype=DType.I32), "x s:I32(2, 32) is I32, expected floats or blocks"),
        (FLOATS.rows, tensor(2, 6).slice(1, 0, 6, 2), "x s:F32(2, 3) has inner stride 2, expected 1"),
        (FLOATS.contiguous, tensor(2, 6).slice(1, 0, 3), "x s:F32(2, 3) has strides (6, 1), expected to be contiguous"),
        (
            FLOATS.joined(2),
            tensor(2, 6, 4).slice(1, 0, 3),
            "x s:F32(2, 3, 4) has strides (24, 4, 1), expected one for its first 2 axes",
        ),
        (
            FLOATS.aligned(4),
            tensor(2, 6),
            "x s:F32(2, 6) has offset 0 and strides (6, 1), expected multiples of 4",
        ),
        (FLOATS.axis(1, most=5), tensor(2, 6), "x s:F32(2, 6) has 6 entries on axis 1, expected 0 to 5"),
        (FLOATS.axis(0, multiple=4), tensor(2, 6), "x s:F32(2, 6) has 2 entries on axis 0, expected a multiple of 4"),
        (FLOATS, tensor(1, layout=HUGE), "has 2147483648 elements, expected less than 2147483648"),
        (FLOATS, tensor(1, layout=Layout((2, 2), (2**32, 1))), "ends at 4294967298 of its storage, expected at most"),
    ],
)
def test_what_is_refused_is_named_with_both_values(operand: Operand, t: Tensor, wanted: str) -> None:
    assert wanted in why(operand, t)


@pytest.mark.parametrize(
    ("operand", "t"),
    [
        (FLOATS, tensor(2, 6).slice(1, 0, 6, 2)),
        (FLOATS.rows, tensor(2, 6).slice(1, 1, 4)),
        (FLOATS.rows, tensor(6, 2).permute(1, 0).slice(1, 0, 1)),
        (FLOATS.joined(2), tensor(2, 3, 4, 5).permute(0, 1, 3, 2)),
        (FLOATS.joined(2), tensor(2, 3, 0)),
        (FLOATS.aligned(4), tensor(3, 8).slice(1, 4, 8)),
        (WEIGHTS.rows, tensor(2, 32, dtype=DType.Q8_0)),
        (WEIGHTS, tensor(2, 0, dtype=DType.Q8_0)),
    ],
)
def test_what_fits_is_taken(operand: Operand, t: Tensor) -> None:
    assert why(operand, t) == ""


def test_operands_beside_others() -> None:
    a, b, half = tensor(2, 3), tensor(2, 6).slice(1, 0, 3), tensor(2, 3, dtype=DType.F16)
    takes = {"a": NUMBERS, "b": NUMBERS.typed_as("a").strided_as("a")}
    assert refusal(takes, {}, Node("add", (a, a), ())) == ""
    assert "b s:F16(2, 3) is F16, expected F32 as a is" in refusal(takes, {}, Node("add", (a, half), ()))
    assert "b s:F32(2, 3) has strides (6, 1), expected (3, 1) as a has" in refusal(takes, {}, Node("add", (a, b), ()))


def test_some_may_be_missing_and_some_repeat() -> None:
    a, half = tensor(2, 3), tensor(2, 3, dtype=DType.F16)
    assert refusal({"x": FLOATS, "mask?": FLOATS}, {}, Node("softmax", (a,), ())) == ""
    assert "mask s:F16" in refusal({"x": FLOATS, "mask?": FLOATS}, {}, Node("softmax", (a, half), ()))
    assert "w1 s:F16" in refusal({"x": FLOATS, "w*": FLOATS}, {}, Node("mul_mats", (a, a, half), ()))
    assert refusal({"x": FLOATS}, {}, Node("neg", (a, a), ())) == "2 operands, expected x"
    assert refusal({"x": FLOATS, "y": FLOATS}, {}, Node("neg", (a,), ())) == "1 operands, expected x, y"


def test_an_output_has_each_element_in_a_place_of_its_own() -> None:
    laid, apart = Layout((2, 3), (0, 1)), Layout((2, 3), (1, 2))
    assert "strides (0, 1), which lay elements over each other" in refusal(
        {}, {"y": INTS}, Node("neg", (), (tensor(6, dtype=DType.I32, layout=laid),))
    )
    assert refusal({}, {"y": INTS}, Node("neg", (), (tensor(6, dtype=DType.I32, layout=apart),))) == ""
