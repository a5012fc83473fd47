"""Mamba-2 and Kimi's delta rule in chunks on the host backend: of every size and however few tokens, in both orders."""

from dataclasses import replace
from functools import cache

import pytest
from vkrun.backends.host import BACKEND, LANES
from vkrun.backends.host.device import HostDevice
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.runtime.tuning import Tuning
from vkrun.shaders.catalogue import lower
from vkrun.shaders.kernel import Features
from vkrun.shaders.recurrent import kimi_chunks, state_chunks
from vkrun.tests.nodes import bare

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

OPS = {"mamba2": state_chunks, "kimi_delta": kimi_chunks}
SIZES = [(op, size) for op, module in OPS.items() for size in module.SIZES]
ROOMY = replace(LANES[0][1], shared_nbytes=1 << 17, tuning=Tuning(delta_tokens=1))


@cache
def device(backwards: bool) -> HostDevice:
    return BACKEND.open(BACKEND.devices()[int(backwards)], ROOMY)


def found(op: str) -> list[Case]:
    return [c for c in CASES if c.op == op]


@pytest.mark.parametrize(("op", "size"), SIZES)
def test_every_size(op: str, size: tuple[int, int], full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS[op], "forced", size)
    for i, case in enumerate(found(op)[:: 1 if full else 9]):
        call = lower(bare(case).node, ROOMY)
        assert call and (call.stem, ()) == OPS[op].VARIANT
        assert run_case(case, device(i % 2 == 1)).why == "", case.what


@pytest.mark.parametrize(
    ("features", "wanted"),
    [
        (LANES[0][1], {"CHUNK": 32, "ROWS": 16, "local_size_x": 128}),
        (Features(delta_chunks=True), {"CHUNK": 32, "ROWS": 16, "local_size_x": 128}),
        (Features(), None),
        (Features(delta_chunks=True, max_workgroup=64), None),
        (Features(delta_chunks=True, shared_nbytes=8192), None),
        (replace(LANES[0][1], software=True), None),
        (replace(LANES[0][1], tuning=Tuning(delta_tokens=71)), None),
    ],
)
def test_where_chunks_are_taken(features: Features, wanted: dict[str, int] | None) -> None:
    """Of 70 tokens and 8 heads of 24 x 64: from as many tokens on as are tuned, where there is room."""
    case = next(c for c in found("mamba2") if c.what == "NaN in x, 70 tokens")
    call = lower(bare(case).node, features)
    assert call and (call.stem == "state_chunks") == bool(wanted)
    assert {name: call.constants[name] for name in wanted or ()} == (wanted or {})


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        (LANES[0][1], 32),
        (Features(delta_chunks=True, shared_nbytes=32768), 32),
        (Features(delta_chunks=True), 0),
        (replace(LANES[0][1], delta_chunks=False), 0),
    ],
)
def test_where_kimi_is_taken_in_chunks(features: Features, rows: int) -> None:
    """Of 70 tokens and heads of 20 x 64."""
    call = lower(bare(next(c for c in found("kimi_delta") if c.what == "NaN in v, 70 tokens")).node, features)
    assert call and (call.stem == "kimi_chunks") == bool(rows) and call.constants.get("ROWS", 0) == rows
