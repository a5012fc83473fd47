"""Single ops of ONNX as the reference evaluator of the onnx package computes them: an oracle that no one here wrote."""

from functools import cache

import numpy as np
from onnx import TypeProto, helper
from onnx.reference import ReferenceEvaluator

OPSET = 27  # the first that has LinearAttention and CausalConvWithState


def onnx_op(op: str, *inputs: np.ndarray | None, **attrs) -> np.ndarray:
    """The first output of ONNX's `op`; None leaves an optional input out."""
    return onnx_outputs(op, 1, *inputs, **attrs)[0]


def onnx_outputs(op: str, n_outputs: int, *inputs: np.ndarray | None, **attrs) -> list[np.ndarray]:
    given = tuple(x is not None for x in inputs)
    evaluator = _evaluator(op, given, n_outputs, tuple(sorted(attrs.items())))
    with np.errstate(all="ignore"):  # inf and NaN are data
        return evaluator.run(None, {f"in{i}": np.asarray(x) for i, x in enumerate(inputs) if x is not None})


@cache
def _evaluator(op: str, given: tuple[bool, ...], n_outputs: int, attrs: tuple) -> ReferenceEvaluator:
    names = [f"in{i}" if there else "" for i, there in enumerate(given)]
    node = helper.make_node(op, names, [f"out{i}" for i in range(n_outputs)], **dict(attrs))
    ins, outs = ([helper.make_value_info(n, TypeProto()) for n in side if n] for side in (names, node.output))
    model = helper.make_model(helper.make_graph([node], op, ins, outs), opset_imports=[helper.make_opsetid("", OPSET)])
    return ReferenceEvaluator(model)
