"""SPIR-V that keeps denormal halves where a device can, so that shaders convert halves by the device's own instruction.

Without the mode of SPV_KHR_float_controls a driver may take them for zeros; numbers.glsl then converts by integer code.
"""

from collections.abc import Iterable, Iterator

from . import spirv_module as spv
from .spirv_module import Instruction

CONSTANT_ID = 100  # of KEEPS_DENORMALS in numbers.glsl
EXTENSION, CAPABILITY, KEEPS, OF_HALVES = "SPV_KHR_float_controls", 4464, 4459, 16


def keeping_denormals(module: bytes) -> bytes:
    """The module with denormal halves kept, for KEEPS_DENORMALS of 1; as it was where it converts none."""
    listed = list(spv.instructions(module))
    if not any(op == spv.DECORATE and c[1:] == (spv.SPEC_ID, CONSTANT_ID) for op, c in listed):
        return module
    made = spv.with_extension(_with_mode(listed), CAPABILITY, EXTENSION)
    return spv.assembled(module, made, spv.bound_of(module))


def _with_mode(listed: Iterable[Instruction]) -> Iterator[Instruction]:
    for op, c in listed:
        yield op, c
        if op == spv.ENTRY_POINT:
            yield spv.EXECUTION_MODE, (c[1], KEEPS, OF_HALVES)
