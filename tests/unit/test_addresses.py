"""SPIR-V by addresses, and with denormal halves kept: valid, and of what the host pushes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from vkrun.shaders import spirv_module as spv
from vkrun.shaders.addresses import ADDRESS_NBYTES, addresses_at, by_addresses, pushed_nbytes
from vkrun.shaders.catalogue import variants
from vkrun.shaders.compile import LIBRARY, VALIDATOR, Variant, spirv
from vkrun.shaders.denormals import keeping_denormals
from vkrun.shaders.interface import of_text, read_spirv

PUSHED_NBYTES = 256  # of drivers of GPUs where addresses are faster; those with less bind what does not fit
BY_DRIVERS = [v for v in variants() if "matri" not in v[0]]  # which any compiler of GLSL takes
CONVERTS = "mul_mat_vec", (("TYPE_F16", ""), ("WIDE", ""))  # halves; reads its weights as two types


def sample(full: bool) -> list[Variant]:
    return [CONVERTS, *BY_DRIVERS[:: 40 if full else 400]]


def operands(module: bytes, op: int) -> list[tuple[int, ...]]:
    return [c for found, c in spv.instructions(module) if found == op]


def test_all_shaders_push_what_gpus_take() -> None:
    assert max(pushed_nbytes(of_text(*variant)) for variant in variants()) <= PUSHED_NBYTES


@pytest.mark.skipif(not shutil.which(VALIDATOR), reason=f"no {VALIDATOR}")
def test_modules_are_valid(tmp_path: Path, full: bool) -> None:
    for variant in (v for v in sample(full) if LIBRARY.available(*v)):
        file = tmp_path / "made.spv"
        file.write_bytes(keeping_denormals(by_addresses(spirv(*variant))))
        run = subprocess.run([VALIDATOR, "--target-env", "vulkan1.1", str(file)], capture_output=True, text=True)
        assert not run.returncode, f"{variant}: {run.stdout}{run.stderr}"


def test_nothing_is_bound_and_addresses_follow_the_arguments(full: bool) -> None:
    for stem, defines in (v for v in sample(full) if LIBRARY.available(*v)):
        module = spirv(stem, defines)
        declared, made = read_spirv(stem, module), by_addresses(module)
        of_members = (c for c in operands(made, spv.MEMBER_DECORATE) if c[0] == pushed_block(made))
        offsets = sorted(c[3] for c in of_members if c[2] == spv.OFFSET)[len(declared.arguments) :]
        first = addresses_at(len(declared.arguments))
        assert offsets == [first + ADDRESS_NBYTES * i for i in range(declared.n_buffers)]
        assert not any(c[1] == spv.BINDING for c in operands(made, spv.DECORATE))
        assert all(c[2] != spv.STORAGE_BUFFER for c in operands(made, spv.VARIABLE))


def pushed_block(module: bytes) -> int:
    (kind,) = (c[0] for c in operands(module, spv.VARIABLE) if c[2] == spv.PUSH_CONSTANT)
    return next(c[2] for c in operands(module, spv.TYPE_POINTER) if c[0] == kind)


def test_only_what_converts_halves_asks_for_denormal_ones() -> None:
    halves, none = spirv(*CONVERTS), spirv("advance", ())
    kept = keeping_denormals(halves)
    assert (len(operands(kept, spv.EXECUTION_MODE)), keeping_denormals(none)) == (
        len(operands(halves, spv.EXECUTION_MODE)) + 1,
        none,
    )
    assert read_spirv("mul_mat_vec", kept) == read_spirv("mul_mat_vec", halves)
