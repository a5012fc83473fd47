"""Mamba-2 in chunks of tokens on the host backend: of every size and however few tokens, in both orders of lanes."""

from dataclasses import replace
from functools import cache

import pytest
from vkrun.backends.host import BACKEND, LANES
from vkrun.backends.host.device import HostDevice
from vkrun.runtime.optable.run import prepare, run_case
from vkrun.runtime.optable.table import CASES
from vkrun.runtime.tuning import Tuning
from vkrun.shaders.catalogue import lower
from vkrun.shaders.kernel import Features
from vkrun.shaders.recurrent import state_chunks

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

FOUND = [c for c in CASES if c.op == "mamba2"]
ROOMY = replace(LANES[0][1], shared_nbytes=1 << 17, tuning=Tuning(delta_tokens=1))


@cache
def device(backwards: bool) -> HostDevice:
    return BACKEND.open(BACKEND.devices()[int(backwards)], ROOMY)


@pytest.mark.parametrize("size", state_chunks.SIZES)
def test_every_size(size: tuple[int, int], full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_chunks, "forced", size)
    for i, case in enumerate(FOUND[:: 1 if full else 9]):
        assert lower(prepare(case).node, ROOMY).stem == "state_chunks"  # pyright: ignore[reportOptionalMemberAccess]
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
    case = next(c for c in FOUND if c.what == "NaN in x, 70 tokens")
    call = lower(prepare(case).node, features)
    assert call and (call.stem == "state_chunks") == bool(wanted)
    assert {name: call.constants[name] for name in wanted or ()} == (wanted or {})
